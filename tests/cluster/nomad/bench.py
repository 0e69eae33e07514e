"""A cluster's jobs on a real Nomad: simple programs, so that the engine alone is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from pbxctl.deployment import Job
from pbxctl.engines.engine import JobStatus
from pbxctl.engines.nomad import NomadEngine, place
from tests.cluster.lab import Lab, until

CLUSTER = "acme"
JOB = """\
variable "id" { type = string }
variable "cluster" { type = string }
variable "server" { type = string }
variable "release" { type = string }
variable "script" { type = string }
variable "number" {
  type    = number
  default = 1
}
job "one" {
  id = var.id
  meta {
    role    = "one"
    cluster = var.cluster
    server  = var.server
    release = var.release
    script  = var.script
    number  = var.number
  }
  constraint {
    attribute = "${node.unique.name}"
    value     = var.server
  }
  group "one" {
    disconnect {
      lost_after = "1h"
      replace    = false
    }
    restart {
      attempts = 10
      interval = "5m"
      delay    = "1s"
      mode     = "delay"
    }
    task "first" {
      driver = "raw_exec"
      lifecycle { hook = "prestart" }
      config { command = "/bin/true" }
    }
    task "main" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "5s"
      config {
        command = "/bin/sh"
        args    = ["-c", var.script]
      }
    }
  }
}
"""
SLEEP = "echo begun; echo trouble >&2; exec sleep 1000"


class Bench:
    """An engine for the lab's Nomad, and what tests ask around it."""

    def __init__(self, lab: Lab, directory: Path, nomad: str, consul: str) -> None:
        self.lab = lab
        self.directory = directory
        self.files = directory / "jobs"
        self.files.mkdir()
        (self.files / "one.nomad.hcl").write_text(JOB)
        self.state = directory / "state" / CLUSTER
        (self.state / "secrets").mkdir(parents=True)
        (self.state / "secrets" / "admin_token").write_text("token\n")
        self.nomad, self.consul = f"http://{nomad}", f"http://{consul}"
        self.engine = self.another()

    def another(self, cluster: str = CLUSTER, *, patience: float = 10.0) -> NomadEngine:
        """What another `pbxctl` would make."""
        where = place({"NOMAD_ADDR": self.nomad, "CONSUL_HTTP_ADDR": self.consul})
        return NomadEngine(cluster, self.state, where, jobs=self.files, patience=patience)

    def job(
        self,
        server: str = "cm1",
        script: str = SLEEP,
        *,
        release: str = "1.0.0",
        cluster: str = CLUSTER,
    ) -> Job:
        job_id = f"{cluster}-one-{server}"
        variables = {
            "id": job_id,
            "cluster": cluster,
            "server": server,
            "release": release,
            "script": script,
            "number": 7,
        }
        return Job(id=job_id, role="one", server=server, variables=variables)

    async def status(
        self, wish: Callable[[JobStatus], object], job: Job | None = None
    ) -> JobStatus:
        """The job's status once it meets the wish."""
        wanted = (job or self.job()).id

        async def found() -> JobStatus | None:
            for each in await self.engine.jobs(CLUSTER):
                if each.id == wanted and wish(each):
                    return each
            return None

        status = await until(f"{wanted} as wished", found, within=240, why=self.lab.logs)
        assert status is not None
        return status

    async def running(self, job: Job | None = None) -> JobStatus:
        wanted = self.engine.fingerprint(job or self.job())
        return await self.status(lambda s: s.state == "running" and s.fingerprint == wanted, job)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Nomad's API, as an SRE would use it."""
        async with httpx.AsyncClient(base_url=self.nomad, trust_env=False, timeout=30) as client:
            answer = await client.request(method, path, json=body)
            answer.raise_for_status()
            return answer.json()

    async def registered(self, job_id: str) -> Any:
        return await self.api("GET", f"/v1/job/{job_id}")

    async def edit(self, job_id: str, change: Callable[[Any], object]) -> None:
        """Change a job behind pbxctl's back."""
        whole = await self.registered(job_id)
        change(whole)
        await self.api("PUT", "/v1/jobs", {"Job": whole})
