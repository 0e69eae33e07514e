"""From nothing to a running PBX, changed while it runs, and back to nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.cli.conftest import SECRETS, Operator


def pids(operator: Operator) -> dict[str, int]:
    """Who runs, by what it is; the engine's own children too."""
    return {f"{command} {pid}": pid for pid, command in operator.processes().items()}


def test_apply_change_destroy(operator: Operator) -> None:
    spec = str(operator.spec)
    planned = operator.run("plan", spec, "--detailed-exitcode")
    assert planned.returncode == 2
    assert "pbx1" in planned.stdout
    assert "to add" in planned.stdout
    assert not operator.state.exists()

    first = operator.apply()
    assert first["changed"]
    assert operator.run("plan", spec, "--detailed-exitcode").returncode == 0
    second = operator.run("apply", spec, "--auto-approve")
    assert second.returncode == 0
    assert "it: nothing to change" in second.stdout
    assert "already in force · 1 Call Manager, 1 media server healthy" in second.stdout

    before = pids(operator)
    took = [change_live(operator, extension) for extension in ("2003", "2004", "2005")]
    assert pids(operator) == before
    # Each is promised within a second; the machine that tests share may be busy for one of them.
    assert min(took) < 1.0, took

    for file in operator.state.rglob("*"):
        if file.is_file() and file.suffix not in {".db-wal", ".mdb"}:
            content = file.read_bytes()
            assert not [name for name, secret in SECRETS.items() if secret.encode() in content]

    gone = operator.run("destroy", "--auto-approve")
    assert gone.returncode == 0, gone.stderr
    assert operator.processes() == {}
    assert list(operator.state.rglob("*")) == []


def change_live(operator: Operator, extension: str) -> float:
    """Adds a user, and changes trunk and ring group; seconds until all of it was in force."""
    user = f'      - {{extension: "{extension}", name: X, password: {{env: BEN_PASSWORD}}}}\n'
    text = operator.text.replace("    ring_groups:", f"{user}    ring_groups:")
    text = text.replace('"2002"]', f'"2002", "{extension}"]')
    operator.write(text.replace("options_interval: 0s", f"channels: {extension}"))
    result = operator.apply()
    assert {change["subject"] for change in result["changes"]} >= {"sales", "carrier"}
    return float(result["seconds"])


def test_a_media_server_comes_and_goes(operator: Operator) -> None:
    operator.apply()
    before = pids(operator)
    second = (
        f"  - {{name: m2, address: {operator.network}.12, roles: [media],"
        " capacity: {calls: 50}}\ntrunks:"
    )
    operator.write(operator.text.replace("trunks:", second, 1))
    operator.apply()
    assert before.items() <= pids(operator).items()
    status = operator.json("status")
    assert [row["server"] for row in status["servers"] if row["role"] == "media"] == ["m1", "m2"]
    # New settings for both: each is drained in its turn, and takes calls again afterwards.
    both = operator.text.replace("trunks:", second, 1)
    operator.write(both.replace("calls: 50", "calls: 60"))
    operator.apply()
    assert {row["state"] for row in operator.json("status")["servers"]} == {"up"}
    operator.write(operator.text)
    operator.apply()
    status = operator.json("status")
    assert [row["server"] for row in status["servers"] if row["role"] == "media"] == ["m1"]


def test_stopped_by_ctrl_c_it_says_how_far_it_came_and_goes_on(operator: Operator) -> None:
    apply = operator.start("apply", str(operator.spec), "--auto-approve")
    assert apply.stderr is not None
    for line in apply.stderr:
        if "starting" in line and "pbx1" in line:
            break
    os.kill(apply.pid, signal.SIGINT)
    _, errors = apply.communicate(timeout=60)
    assert apply.returncode == 130
    assert "not in force:" in errors
    assert "stopped by Ctrl-C; run the same apply again to go on from here" in errors
    assert "Traceback" not in errors
    operator.apply()
    assert operator.run("plan", str(operator.spec), "--detailed-exitcode").returncode == 0


def test_out_of_time_it_says_what_is_missing(operator: Operator) -> None:
    spec = str(operator.spec)
    late = operator.run("apply", spec, "--auto-approve", "--timeout", "1", "--json")
    assert late.returncode == 1
    error = json.loads(late.stderr)["error"]
    assert error["end"] == "timeout"
    assert error["known"]
    assert error["not_in_force"]
    operator.apply()


def test_a_server_that_cannot_start_is_named(operator: Operator) -> None:
    operator.apply()
    wrong = operator.text.replace(f"{operator.network}.11", "192.0.2.11")
    operator.write(wrong)
    failed = operator.run("apply", str(operator.spec), "--auto-approve", "--timeout", "12")
    assert failed.returncode == 1
    assert "media on m1: started, but" in failed.stderr
    operator.write(operator.text)
    operator.apply()


def test_a_saved_plan_is_applied_exactly_or_not_at_all(operator: Operator) -> None:
    spec, plan = str(operator.spec), str(operator.directory / "it.plan")
    operator.ok("plan", spec, "--out", plan)
    saved = Path(plan).read_text()
    assert not [name for name, secret in SECRETS.items() if secret in saved]
    operator.write(operator.text.replace("name: Ben", "name: Benedikt"))
    stale = operator.run("apply", plan, "--auto-approve")
    assert stale.returncode == 1
    assert "has changed since the plan" in stale.stderr
    assert operator.processes() == {}
    operator.write(operator.text)
    assert operator.json("apply", plan, "--auto-approve")["changed"]
    again = operator.run("apply", plan, "--auto-approve")
    assert again.returncode == 1
    assert "what runs has changed since the plan" in again.stderr


def waits_for_an_answer(operator: Operator) -> subprocess.Popen[str]:
    apply = operator.start("apply", str(operator.spec), stdin=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (operator.state / "it" / "apply.lock").exists():
        assert time.monotonic() < deadline
        assert apply.poll() is None
        time.sleep(0.02)
    return apply


@pytest.mark.parametrize(
    ("answer", "said"),
    [("n\n", "not confirmed; nothing was changed"), ("", "nobody answered; nothing was changed")],
)
def test_one_at_a_time_and_only_if_agreed(operator: Operator, answer: str, said: str) -> None:
    apply = waits_for_an_answer(operator)
    second = operator.run("apply", str(operator.spec), "--auto-approve")
    assert second.returncode == 1
    assert "it is being changed: pbxctl apply by root since" in second.stderr
    assert f"(process {apply.pid})" in second.stderr
    _, errors = apply.communicate(answer, timeout=60)
    assert apply.returncode == 1
    assert said in errors
    assert operator.processes() == {}
    assert not (operator.state / "it").exists()


def test_a_first_apply_that_starts_nothing_leaves_nothing(operator: Operator) -> None:
    port = int(operator.text.split("registry: ")[1].split("}")[0])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        failed = operator.run("apply", str(operator.spec), "--auto-approve")
    assert failed.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in failed.stderr
    assert not (operator.state / "it").exists()
    operator.apply()


def test_an_engine_that_died_is_said_and_what_goes_on_is_known(operator: Operator) -> None:
    spec = str(operator.spec)
    operator.apply()
    engine = int((operator.state / "it" / "engine.pid").read_text())
    before = pids(operator)
    os.kill(engine, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while engine in pids(operator).values():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    said = "the engine of it does not run; 4 of its tasks do (calls go on); pbxctl apply starts it"
    status = operator.run("status")
    assert status.returncode == 1
    assert said in status.stdout
    report = json.loads(operator.run("status", "--json").stdout)
    assert [(row["server"], row["state"]) for row in report["servers"]] == [
        ("pbx1", "up"),
        ("m1", "up"),
    ]
    assert (report["runs"], report["calls"]) == (False, 0)
    for command in ("calls", "registrations", "trunks"):
        assert said in operator.run(command).stderr
    planned = operator.run("plan", spec, "--detailed-exitcode")
    assert planned.returncode == 2
    assert "its engine does not run; 4 of its tasks do (calls go on)" in planned.stdout
    assert "0 to add, 1 to change, 0 to remove" in planned.stdout
    operator.apply()
    now = pids(operator)
    assert {each: pid for each, pid in before.items() if pid != engine}.items() <= now.items()
    assert operator.run("plan", spec, "--detailed-exitcode").returncode == 0
    assert operator.json("status")["healthy"]


def test_a_cluster_that_does_not_run(operator: Operator) -> None:
    spec = str(operator.spec)
    status = operator.run("status", spec)
    assert status.returncode == 1
    assert "it does not run" in status.stdout
    for command in (["calls", spec], ["registrations", spec]):
        found = operator.run(*command)
        assert found.returncode == 1
        assert "it does not run; start it with pbxctl apply" in found.stderr
    assert "nothing to destroy" in operator.ok("destroy", spec, "--auto-approve")
