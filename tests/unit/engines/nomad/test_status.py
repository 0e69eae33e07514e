"""A job's state from what Nomad says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pbxctl.engines.nomad.status import placement, status_of
from pbxctl.engines.nomad.wire import Alloc, Driver, Event, JobStub, Node, TaskState

META = {"cluster": "a", "role": "media", "server": "m1", "release": "1", "fingerprint": "f"}
STUB = JobStub(id="a-media-m1", meta=META)
READY = Node(
    name="m1",
    status="ready",
    scheduling_eligibility="eligible",
    drivers={"raw_exec": Driver(detected=True, healthy=True)},
)
RUNNING = TaskState(state="running", started_at=datetime(2026, 1, 1, tzinfo=UTC))
DONE = TaskState(state="dead", events=[Event(type="Terminated")])
NOMADS_NEVER = datetime(1, 1, 1, tzinfo=UTC)


def alloc(version: int = 1, index: int = 5, client: str = "running", **more: object) -> Alloc:
    tasks = {"agent": RUNNING, "prepare": DONE}
    values = {"desired_status": "run", "task_states": tasks, "node_name": "m1"} | more
    return Alloc(
        id="x",
        job_id=STUB.id,
        job_version=version,
        create_index=index,
        client_status=client,
        **values,  # type: ignore[arg-type]  # a plain dict of the tests'
    )


def test_running() -> None:
    found = status_of(STUB, 1, [alloc()], [READY])
    assert (found.state, found.trouble, found.fingerprint) == ("running", "", "f")
    assert [task.state for task in found.tasks] == ["running", "dead"]
    assert found.tasks[0].since == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert found.variables == {"id": STUB.id, "cluster": "a", "server": "m1", "release": "1"}


def test_an_older_version_that_still_runs_is_not_the_job() -> None:
    assert status_of(STUB, 2, [alloc(version=1)], [READY]).state == "pending"


def test_of_several_allocations_what_should_run_counts() -> None:
    old = alloc(index=9, desired_status="stop", client="complete")
    assert status_of(STUB, 1, [old, alloc(index=5)], [READY]).state == "running"


@pytest.mark.parametrize("client", ["failed", "lost", "complete"])
def test_over(client: str) -> None:
    assert status_of(STUB, 1, [alloc(client=client)], [READY]).state == "dead"


def test_a_task_that_ends_and_is_started_again() -> None:
    ended = [Event(type="Terminated", exit_code=3), Event(type="Restarting")]
    task = TaskState(state="pending", restarts=2, events=ended, finished_at=NOMADS_NEVER)
    found = status_of(STUB, 1, [alloc(task_states={"agent": task})], [READY])
    assert found.state == "restarting"
    assert (found.tasks[0].exit, found.tasks[0].restarts, found.tasks[0].since) == (3, 2, 0.0)


def test_a_signal_is_negative() -> None:
    task = TaskState(state="dead", events=[Event(type="Terminated", exit_code=137, signal=9)])
    found = status_of(STUB, 1, [alloc(task_states={"agent": task}, client="failed")], [READY])
    assert found.tasks[0].exit == -9


def test_a_program_that_is_not_there() -> None:
    text = 'failed to launch: rpc error: code = Unknown desc = binary "/opt/x" could not be found'
    task = TaskState(state="dead", events=[Event(type="Driver Failure", display_message=text)])
    both = alloc(task_states={"agent": task, "rtpengine": task}, client="failed")
    found = status_of(STUB, 1, [both], [READY])
    assert found.trouble == 'agent, rtpengine: binary "/opt/x" could not be found'


def test_a_host_out_of_sight() -> None:
    found = status_of(STUB, 1, [alloc(client="unknown")], [READY])
    assert (found.state, found.trouble) == ("pending", "Nomad has lost contact with m1")


def test_stopped_by_hand() -> None:
    found = status_of(JobStub(id=STUB.id, meta=META, stop=True), 1, [], None)
    assert (found.state, found.fingerprint, found.trouble) == (
        "dead",
        "",
        "stopped outside pbxctl",
    )


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (None, "no node named m1 has joined Nomad"),
        ({"status": "down"}, "Nomad says that m1 is down"),
        ({"scheduling_eligibility": "ineligible"}, "takes no jobs"),
        ({"drivers": {}}, "raw_exec is not enabled on m1"),
        ({}, ""),
    ],
)
def test_why_a_job_is_not_placed(node: dict[str, object] | None, text: str) -> None:
    import msgspec

    nodes = [] if node is None else [msgspec.structs.replace(READY, **node)]
    found = placement("m1", nodes)
    assert text in found if text else found == ""
    assert placement("m1", None) == ""
