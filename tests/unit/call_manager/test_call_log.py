"""What an agent that starts again makes of calls that it knew before."""

from __future__ import annotations

import time
from pathlib import Path

import trio

from services.call_manager.call_log import CallLog
from services.call_manager.calls import Call, record
from services.core.events import Ended, EventWriter, Started
from services.core.store import Database, calls, migrate


def nothing() -> None:
    """Nobody watches."""


async def test_a_call_that_ended_meanwhile_is_forgotten_at_once(tmp_path: Path) -> None:
    """Another Call Manager ended and stored it, and started anew itself: only the store knows."""
    began = time.time() - 60
    start = Started(
        id="s",
        call="c",
        time=began,
        server="cm1",
        tenant="acme",
        direction="internal",
        caller="2001",
        callee="2002",
        tag="t",
        cseq="1",
    )
    known = Call(started=start)
    spool = tmp_path / "spool"
    spool.mkdir()
    assert EventWriter(spool, "worker-0").append(start)
    end = Ended(
        id=known.end_id,
        call="c",
        time=began + 5,
        server="cm2",
        tenant="acme",
        code=486,
        reason="busy",
        by="callee",
        answered=False,
        duration=0.0,
    )
    database = Database(f"sqlite:///{tmp_path / 'pbx.db'}")
    migrate(database)
    with database.write() as connection:
        calls.add(connection, [record(end, known)])
    log = CallLog(spool, tmp_path / "checkpoint", database, "cm1")
    async with trio.open_nursery() as nursery:
        # Before the spool is read, as it may happen: then there is nothing to be asked for.
        nursery.start_soon(log.reconcile, nothing)
        await trio.sleep(0.5)
        nursery.start_soon(log.follow, nothing)
        with trio.fail_after(5):
            while "c" not in log.view.up:  # noqa: ASYNC110 - it is looked at from outside
                await trio.sleep(0.01)
            while "c" in log.view.up:  # noqa: ASYNC110
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
