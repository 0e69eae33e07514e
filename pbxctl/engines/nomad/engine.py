"""The Nomad engine, as `pbxctl` uses it: a cluster's jobs on the hosts that Nomad runs them on.

Every job carries its cluster and fingerprint in its meta; what carries another cluster's, or none,
is never touched. Registrations are bound to the index that was read (EnforceIndex), so that two
people cannot overwrite one another's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

import pbxctl
from pbxctl.deployment import Job
from pbxctl.engines.engine import Drift, Endpoints, EngineError, JobStatus, LeftBehind
from pbxctl.engines.local.jobfile.reader import fingerprint
from pbxctl.engines.nomad import drift, status, wire
from pbxctl.engines.nomad.api import NomadApi, RefusedError, UnreachableError
from pbxctl.engines.nomad.reach import Note, Place
from pbxctl.engines.nomad.state_dir import NomadStateDir
from pbxctl.engines.nomad.variables import var_file
from pbxctl.registry_client import RegistryClient, RegistryError

JOBS = Path(pbxctl.__file__).parents[1] / "jobs"
STOPPING = 120.0
"""Seconds for a job's tasks to stop: their time-outs, and a slow host."""
POLL = 0.2
LINE = 400
"""Bytes that a line of a log takes, to ask for about as much as is wanted."""
RACE = "Enforcing job modify index"


class NomadEngine:
    """``state_dir`` is the cluster's below pbxctl's state root; ``jobs`` is where job files are.

    ``patience`` is how many seconds Nomad may be away before that is an error.
    """

    def __init__(
        self,
        cluster: str,
        state_dir: Path,
        place: Place,
        *,
        jobs: Path = JOBS,
        patience: float = 10.0,
    ) -> None:
        self.cluster = cluster
        self.place = place
        self._state = NomadStateDir(state_dir)
        self._files = jobs
        self._patience = patience

    def fingerprint(self, job: Job) -> str:
        """See `Engine.fingerprint`."""
        return fingerprint(self._text(job), job.variables)

    async def start(self) -> None:
        """Nomad and Consul run already, or not at all: here only that is looked at and noted."""
        await self.running()
        endpoints = await self.endpoints()
        try:
            with RegistryClient.of(endpoints, self.cluster) as registry:
                await registry.ready()
        except RegistryError as error:
            raise EngineError(f"{error}; CONSUL_HTTP_ADDR says where Consul is") from None
        note = Note(engine="nomad", nomad=self.place.nomad.url, consul=self.place.consul.url)
        self._state.write_note(note)

    async def running(self) -> bool:
        """True; a Nomad that cannot be asked, or has no leader, is an EngineError."""
        async with self._api() as api:
            if not await api.get("/v1/status/leader", str):
                raise EngineError(
                    f"Nomad at {self.place.nomad.url} has no leader: a majority of its servers is "
                    "away; what runs goes on"
                )
        return True

    async def endpoints(self) -> Endpoints:
        """See `Engine.endpoints`."""
        consul = self.place.consul
        return Endpoints(
            registry=consul.url,
            admin_token=self._state.admin_token(),
            registry_token=consul.token,
            registry_ca=consul.ca,
            registry_cert=(consul.cert, consul.key or consul.cert) if consul.cert else None,
        )

    async def jobs(self, cluster: str) -> tuple[JobStatus, ...]:
        """See `Engine.jobs`."""
        async with self._api() as api:
            stubs = await self._stubs(api, cluster)
            allocs: dict[str, list[wire.Alloc]] = {}
            if stubs:
                for alloc in await self._allocs(api, f'JobID matches "^{cluster}-"'):
                    allocs.setdefault(alloc.job_id, []).append(alloc)
            versions = await self._versions(api, cluster) if stubs else {}

            def seen(nodes: list[wire.Node] | None) -> list[JobStatus]:
                return [
                    status.status_of(each, versions.get(each.id, 0), allocs.get(each.id, ()), nodes)
                    for each in stubs
                ]

            found = seen(None)
            if any(each.state != "running" for each in found):
                found = seen(await self._nodes(api))
        return tuple(sorted(found, key=lambda each: each.id))

    async def left_behind(self, cluster: str) -> LeftBehind:  # noqa: ARG002  the protocol's
        """Nothing: Nomad is no part of a cluster that ends with it."""
        return LeftBehind()

    async def drift(self, jobs: Sequence[Job]) -> dict[str, Drift]:
        """See `Engine.drift`: Nomad's own diff of what it has and what pbxctl registered."""
        found: dict[str, Drift] = {}
        async with self._api() as api:
            for job in jobs:
                text = self._text(job)
                whole = await self._parsed(api, job, text)
                answer = await api.ask(
                    "POST",
                    f"/v1/job/{job.id}/plan",
                    {"Job": whole, "Diff": True},
                    wire.PlanAnswer,
                )
                if words := drift.drift(answer):
                    found[job.id] = Drift(text=words, restarts=drift.restarts(answer))
        return found

    async def register(self, job: Job) -> None:
        """See `Engine.register`. Refuses a job of that id which is not this cluster's."""
        text = self._text(job)
        async with self._api() as api:
            whole = await self._parsed(api, job, text)
            submission = {"Source": text, "Format": "hcl2", "Variables": var_file(job.variables)}
            end = trio.current_time() + self._patience
            tried: int | None = None
            while True:
                there = await self._registered(api, job.id)
                index = there.job_modify_index if there else 0
                if there is not None and tried is not None and index != tried:
                    if _fingerprint(there.meta) == _fingerprint(whole["Meta"]) and not there.stop:
                        return  # it was done, only the answer was lost
                    raise self._raced(job.id)
                tried = index
                try:
                    await api.send(
                        "PUT",
                        "/v1/jobs",
                        {
                            "Job": whole,
                            "EnforceIndex": True,
                            "JobModifyIndex": index,
                            "Submission": submission,
                        },
                        dict[str, Any],
                    )
                except UnreachableError:
                    if trio.current_time() >= end:
                        raise
                except RefusedError as error:
                    if RACE in error.body:
                        raise self._raced(job.id) from None
                    if error.status < 500 or trio.current_time() >= end:
                        raise
                else:
                    await self._start_failed(api, job.id)
                    return
                await trio.sleep(POLL)

    async def _start_failed(self, api: NomadApi, job_id: str) -> None:
        """At once, where Nomad would wait longer after each failure."""
        body = {"JobID": job_id, "EvalOptions": {"ForceReschedule": True}}
        with contextlib.suppress(RefusedError, UnreachableError):  # it would start later, too
            await api.send("PUT", f"/v1/job/{job_id}/evaluate", body, dict[str, Any])

    async def put_back(self, job_id: str, fingerprint: str) -> bool:
        """See `Engine.put_back`: Nomad keeps a job's last versions."""
        async with self._api() as api:
            there = await self._registered(api, job_id)
            if there is None:
                return False
            history = await api.get(f"/v1/job/{job_id}/versions", wire.Versions)
            known = [each for each in history.versions if _fingerprint(each.meta) == fingerprint]
            if not known:
                return False
            body = {
                "JobID": job_id,
                "JobVersion": max(each.version for each in known),
                "EnforcePriorVersion": there.version,
            }
            await api.send("PUT", f"/v1/job/{job_id}/revert", body, dict[str, Any])
        return True

    async def deregister(self, job_id: str) -> None:
        """See `Engine.deregister`; refuses what is not this cluster's."""
        async with self._api() as api:
            if await self._registered(api, job_id) is None:
                return
            await api.send("DELETE", f"/v1/job/{job_id}", None, dict[str, Any], purge="true")
            allocs: list[wire.Alloc] = []
            with trio.move_on_after(STOPPING):
                while True:
                    allocs = await self._allocs(api, f'JobID == "{job_id}"')
                    if all(status.ended(each) for each in allocs):
                        return
                    await trio.sleep(POLL)
            where = ", ".join(sorted({each.node_name for each in allocs if not status.ended(each)}))
        raise EngineError(f"{job_id} is removed from Nomad, but {where} has not stopped its tasks")

    async def logs(self, job_id: str, task: str, *, lines: int) -> str:
        """See `Engine.logs`: what the task wrote to its output first, then to its errors."""
        async with self._api() as api:
            allocs = await self._allocs(api, f'JobID == "{job_id}"')
            alloc = status.current(allocs)
            if alloc is None or task not in (alloc.task_states or {}):
                raise EngineError(f"no task {task} of a job {job_id} has run")
            texts: list[str] = []
            for stream in ("stdout", "stderr"):
                with contextlib.suppress(RefusedError):  # no such file: it wrote nothing yet
                    text = await api.text(
                        f"/v1/client/fs/logs/{alloc.id}",
                        task=task,
                        type=stream,
                        plain="true",
                        origin="end",
                        offset=str(lines * LINE),
                    )
                    texts += text.splitlines()[-lines:]
        return "".join(f"{line}\n" for line in texts)

    async def destroy(self) -> None:
        """Stop and remove the cluster's jobs and its keys, nothing else; secrets and data stay."""
        for job in await self.jobs(self.cluster):
            await self.deregister(job.id)
        endpoints = await self.endpoints()
        try:
            with RegistryClient.of(endpoints, self.cluster) as registry:
                await registry.remove_everything()
        except RegistryError as error:
            raise EngineError(f"its jobs are stopped, but its keys are there: {error}") from None
        self._state.forget()

    def _api(self) -> NomadApi:
        return NomadApi(self.place, patience=self._patience)

    def _text(self, job: Job) -> str:
        path = self._files / f"{job.role}.nomad.hcl"
        try:
            return path.read_text()
        except OSError as error:
            raise EngineError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise EngineError(f"{path}: this is no UTF-8 text: {error}") from None

    async def _parsed(self, api: NomadApi, job: Job, text: str) -> wire.Job:
        """The job as Nomad reads it, with its fingerprint."""
        body = {"JobHCL": text, "Variables": var_file(job.variables), "Canonicalize": False}
        try:
            whole = await api.ask("POST", "/v1/jobs/parse", body, wire.Job)
        except RefusedError as error:
            raise EngineError(f"{self._files / job.role}.nomad.hcl: {error.body}") from None
        if whole.get("ID") != job.id:
            raise EngineError(
                f"{self._files / job.role}.nomad.hcl: its id is {whole.get('ID')}, not {job.id}"
            )
        meta = dict[str, str](whole.get("Meta") or {})
        whole["Meta"] = meta | {status.FINGERPRINT: fingerprint(text, job.variables)}
        return whole

    async def _registered(self, api: NomadApi, job_id: str) -> wire.RegisteredJob | None:
        """The job as it is, None if there is none. Raises EngineError where it is foreign."""
        there = await api.find(f"/v1/job/{job_id}", wire.RegisteredJob)
        if there is None:
            return None
        owner = status.cluster_of(there.meta)
        if owner != self.cluster:
            whose = f"cluster {owner}" if owner else "nobody that pbxctl knows"
            raise EngineError(
                f"Nomad has a job {job_id} that belongs to {whose}: it is left alone; remove it "
                f"(nomad job stop -purge {job_id}) or give the cluster another name"
            )
        return there

    def _raced(self, job_id: str) -> EngineError:
        return EngineError(
            f"{job_id} was changed in Nomad by somebody else at this moment, and is left as it is"
        )

    async def _stubs(self, api: NomadApi, cluster: str) -> list[wire.JobStub]:
        stubs = await api.get("/v1/jobs", list[wire.JobStub], prefix=f"{cluster}-", meta="true")
        return [each for each in stubs if status.cluster_of(each.meta) == cluster]

    async def _versions(self, api: NomadApi, cluster: str) -> dict[str, int]:
        found = await api.get("/v1/jobs/statuses", list[wire.JobVersion], prefix=f"{cluster}-")
        return {each.id: each.version for each in found}

    async def _allocs(self, api: NomadApi, expression: str) -> list[wire.Alloc]:
        return await api.get(
            "/v1/allocations", list[wire.Alloc], filter=expression, task_states="true"
        )

    async def _nodes(self, api: NomadApi) -> list[wire.Node] | None:
        try:
            return await api.get("/v1/nodes", list[wire.Node])
        except RefusedError:
            return None  # a token need not be allowed to list them


def _fingerprint(meta: dict[str, str] | None) -> str:
    return (meta or {}).get(status.FINGERPRINT, "")
