"""Job files: what is taken, and what is refused with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pbxctl.engines.local.jobfile import JobFileError, Logs, Resources, Restart, Template, resolve
from pbxctl.engines.local.jobfile.runtime import Directories, environment, interpolate

ROOT = Path(__file__).parents[3]
PLACE = "jobs/x.nomad.hcl"

WHOLE = """\
variable "id" { type = string }
variable "port" {
  type    = number
  default = 5060
}
variable "verbose" {
  type    = bool
  default = true
}
job "x" {
  id   = var.id
  type = "service"
  meta {
    role   = "x"
    port   = var.port
    mixed  = "a-${var.port}-${var.verbose}"
    a-dash = "d"
  }
  constraint {
    attribute = "${node.unique.name}"
    value     = var.id
  }
  group "g" {
    count = 1
    network {
      mode = "host"
      port "http" { static = var.port }
    }
    restart {
      attempts = 3
      interval = "1m30s"
      delay    = "500ms"
      mode     = "delay"
    }
    task "first" {
      driver = "raw_exec"
      lifecycle {
        hook    = "prestart"
        sidecar = false
      }
      config { command = "/bin/true" }
    }
    task "main" {
      driver       = "exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"
      config {
        command = "${NOMAD_TASK_DIR}/run"
        args    = ["-p", "${NOMAD_PORT_http}", "say \\"hi\\"\\n", var.port, -1,
                   "$${NOMAD_JOB_ID} %%{x}"]
      }
      env {
        WHERE = "${NOMAD_ALLOC_DIR}/s"
        ROLE  = "${NOMAD_META_role}"
      }
      template {
        destination = "local/run"
        perms       = "755"
        change_mode = "restart"
        data        = <<-EOF
          #!/bin/sh
            echo ${var.id} $${HOME}
          EOF
      }
      template {
        destination = "secrets/env"
        env         = true
        data        = "TOKEN=\\"abc\\"\\n# no\\nexport OTHER=1"
      }
      logs {
        max_files     = 3
        max_file_size = 1
      }
      resources {
        cpu    = 500
        memory = 256
      }
    }
  }
}
"""


def test_everything_that_is_supported() -> None:
    job = resolve(WHOLE, PLACE, {"id": "acme-x-cm1", "port": 5080})
    assert (job.id, job.name, job.group) == ("acme-x-cm1", "x", "g")
    assert job.ports == {"http": 5080}
    assert job.meta == {"role": "x", "port": "5080", "mixed": "a-5080-true", "a-dash": "d"}
    first, main = job.tasks
    assert (first.name, first.command, first.to_completion) == ("first", "/bin/true", True)
    assert first.restart == Restart(attempts=3, interval=90, delay=0.5, mode="delay")
    assert not main.prestart
    assert (main.kill_signal, main.kill_timeout) == ("SIGTERM", 10)
    assert main.command == "${NOMAD_TASK_DIR}/run"
    expected = ("-p", "${NOMAD_PORT_http}", 'say "hi"\n', "5080", "-1", "${NOMAD_JOB_ID} %{x}")
    assert main.args == expected
    assert main.templates == (
        Template(
            destination="local/run",
            text="#!/bin/sh\n  echo acme-x-cm1 ${HOME}\n",
            mode=0o755,
        ),
        Template(destination="secrets/env", text='TOKEN="abc"\n# no\nexport OTHER=1', env=True),
    )
    assert main.logs == Logs(max_files=3, max_file_size=1024 * 1024)
    assert main.resources == Resources(cpu=500, memory=256)


def test_the_environment_of_a_task() -> None:
    job = resolve(WHOLE, PLACE, {"id": "acme-x-cm1"})
    main = job.tasks[1]
    directories = Directories(alloc=Path("/s/alloc"), task=Path("/s/main"))
    told = environment(
        job, main, directories, "0123456789", {"PATH": "/bin", "PBX_SMTP_PASSWORD": "secret"}
    )
    assert told["PATH"] == "/bin"
    assert "PBX_SMTP_PASSWORD" not in told
    assert told["NOMAD_ALLOC_DIR"] == "/s/alloc"
    assert told["NOMAD_TASK_DIR"] == "/s/main/local"
    assert told["NOMAD_SECRETS_DIR"] == "/s/main/secrets"
    assert (told["NOMAD_JOB_ID"], told["NOMAD_TASK_NAME"]) == ("acme-x-cm1", "main")
    assert told["NOMAD_META_role"] == told["NOMAD_META_ROLE"] == "x"
    assert told["NOMAD_META_a_dash"] == told["NOMAD_META_A_DASH"] == "d"
    assert (told["NOMAD_PORT_http"], told["NOMAD_ADDR_http"]) == ("5060", "127.0.0.1:5060")
    assert (told["WHERE"], told["ROLE"]) == ("/s/alloc/s", "x")
    assert (told["TOKEN"], told["OTHER"]) == ("abc", "1")
    assert interpolate(main.command, told) == "/s/main/local/run"
    assert interpolate("${NOMAD_ALLOC_ID} ${HOME}", told) == "0123456789 ${HOME}"


def test_equal_jobs_have_equal_fingerprints() -> None:
    one = resolve(WHOLE, PLACE, {"id": "a", "port": 1})
    assert resolve(WHOLE, PLACE, {"port": 1, "id": "a"}).fingerprint == one.fingerprint
    assert resolve(WHOLE, PLACE, {"id": "b", "port": 1}).fingerprint != one.fingerprint
    assert resolve(WHOLE + "\n", PLACE, {"id": "a", "port": 1}).fingerprint != one.fingerprint


@pytest.mark.parametrize("role", ["call-manager", "media"])
def test_the_projects_own_job_files(role: str) -> None:
    path = ROOT / "jobs" / f"{role}.nomad.hcl"
    text = path.read_text()
    without_default = re.findall(r'variable "(\w+)" \{(?:(?!default)[^}])*\}', text)
    given = dict.fromkeys(without_default, "v")
    job = resolve(text, str(path), given)
    assert job.meta["role"] == role
    assert all(task.command == f"v/bin/pbx-{role}" for task in job.tasks)
    # Every setting that the role reads is among what it is told.
    settings = {"id", "prefix"} ^ set(given)
    assert settings <= set(job.meta)


JOB = """\
variable "v" {{
  default = "x"
}}
{top}
job "x" {{
  {job}
  group "g" {{
    {group}
    task "t" {{
      driver = "raw_exec"
      config {{
        command = "true"
        {config}
      }}
      {task}
    }}
  }}
}}
"""

REFUSED = {
    "not HCL": ({"task": "env {"}, 19, "no HCL"),
    "stray brace": ({"top": "}"}, 4, "no HCL"),
    "unknown top": ({"top": "locals { a = 1 }"}, 4, "does not know locals in a job file"),
    "second job": ({"top": 'job "y" {}'}, 1, "one job"),
    "variable twice": ({"top": 'variable "v" {}'}, 4, "declared twice, first in 1"),
    "variable's type": ({"top": 'variable "w" { type = map(string) }'}, 4, "map(string)"),
    "default's type": (
        {"top": 'variable "w" {\n  type = number\n  default = "1"\n}'},
        4,
        "variable w must be a number, and has the default '1'",
    ),
    "validation": ({"top": 'variable "w" {\n  validation {}\n}'}, 5, "does not know validation"),
    "undeclared": ({"config": 'args = ["${var.none}"]'}, 13, "no variable none is declared"),
    "job type": ({"job": 'type = "batch"'}, 6, 'no type "batch"'),
    "unknown in job": ({"job": "update {}"}, 6, "does not know update in job"),
    "constraint": (
        {"job": 'constraint {\n    attribute = "${attr.kernel.name}"\n  }'},
        7,
        "attr.kernel.name",
    ),
    "job id": ({"job": 'id = "a/b"'}, 6, "cannot be a job's id"),
    "count": ({"group": "count = 2"}, 8, "count = 1"),
    "volume": ({"group": 'volume "v" {}'}, 8, "does not know volume in group"),
    "dynamic port": ({"group": 'network {\n      port "p" {}\n    }'}, 9, "needs static"),
    "bridge": ({"group": 'network { mode = "bridge" }'}, 8, 'no mode "bridge"'),
    "restart mode": ({"group": 'restart { mode = "maybe" }'}, 8, "delay or fail"),
    "restart interval": ({"group": 'restart { interval = "1s" }'}, 8, "at least 5 s"),
    "restart fits": (
        {"group": 'restart {\n attempts = 9\n delay = "1s"\n interval = "5s"\n}'},
        8,
        "do not fit",
    ),
    "duration": ({"task": 'kill_timeout = "soon"'}, 15, '"soon" is no duration'),
    "signal": ({"task": 'kill_signal = "SIGHELLO"'}, 15, "SIGHELLO"),
    "artifact": ({"task": 'artifact { source = "x" }'}, 15, "does not know artifact in task"),
    "twice": ({"task": 'kill_signal = "SIGTERM"\n kill_signal = "SIGINT"'}, 16, "set twice"),
    "function": ({"config": 'args = [upper("x")]'}, 13, "does not know functions"),
    "operator": ({"config": "args = [1 + 2]"}, 13, "does not know operators"),
    "condition": ({"config": "args = [true ? 1 : 2]"}, 13, "does not know conditions"),
    "local": ({"config": "args = [local.x]"}, 13, "does not know local.x"),
    "directive": ({"config": 'args = ["%{if true}a%{endif}"]'}, 13, "directive"),
    "escape": ({"config": 'args = ["\\q"]'}, 13, "no escape \\q"),
    "null": ({"config": "args = [null]"}, 13, "does not know null"),
    "args": ({"config": 'args = "x"'}, 13, "must be a list"),
    "unknown config": ({"config": 'work_dir = "x"'}, 13, "does not know work_dir in config"),
    "NOMAD name": ({"config": 'args = ["${NOMAD_PORT_none}"]'}, 9, "no ${NOMAD_PORT_none}"),
    "heredoc": ({"config": "args = [<<E\na\n${file.x}\nE\n]"}, 15, "does not know file.x"),
    "rendered": (
        {"task": 'template {\n destination = "local/x"\n data = "{{ env }}"\n}'},
        17,
        "static text only",
    ),
    "outside": (
        {"task": 'template {\n data = ""\n destination = "local/../../x"\n}'},
        17,
        "below the task's own directory",
    ),
    "poststop": ({"task": 'lifecycle { hook = "poststop" }'}, 15, 'no hook "poststop"'),
    "logs": ({"task": "logs { max_files = 0 }"}, 15, "from 1"),
}


@pytest.mark.parametrize(("parts", "line", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_named_with_its_line(
    parts: dict[str, str], line: int, words: str
) -> None:
    holes = dict.fromkeys(("top", "job", "group", "config", "task"), "")
    text = JOB.format(**(holes | parts))
    with pytest.raises(JobFileError) as refusal:
        resolve(text, PLACE, {})
    message = str(refusal.value)
    assert message.startswith(f"{PLACE}:{line}:"), message
    assert words in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "1:1: variable id has no value: it has no default and none was given"),
        ({"id": 7}, "1:1: variable id must be a string, and was given 7"),
        ({"id": "a", "port": "5060"}, "2:1: variable port must be a number"),
        ({"id": "a", "port": True}, "2:1: variable port must be a number"),
        ({"id": "a", "verbose": 1}, "6:1: variable verbose must be a bool"),
        ({"id": "a", "prot": 1}, " a value was given for variable prot; declared are: id, port"),
    ],
)
def test_variables_that_are_wrong(given: dict[str, str | int], words: str) -> None:
    with pytest.raises(JobFileError) as refusal:
        resolve(WHOLE, PLACE, given)
    assert f"{PLACE}:{words}" in str(refusal.value)
