"""Ends every task on a state directory, with no engine needed for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from pbxctl.engines.local.execution import MARK, Execution, clear_up
from pbxctl.engines.local.state_dir import StateDir, read
from pbxctl.engines.local.task import TaskRecord

KILL_TIMEOUT = 30.0
"""Seconds that an executor is given here beyond what its own order says; it keeps to its order."""


async def end_everything(state: StateDir) -> None:
    """Stop every task with its signal and time-out, all at once. Raises EngineError."""
    if not state.jobs.exists():
        return
    try:
        stems = sorted(
            path.with_name(path.name.removesuffix(".record"))
            for path in state.jobs.glob("*/*.record")
        )
    except OSError as error:
        raise state.failed(error) from None
    async with trio.open_nursery() as nursery:
        for stem in stems:
            nursery.start_soon(_end, stem)


async def _end(stem: Path) -> None:
    execution = await Execution.adopt(stem, KILL_TIMEOUT)
    if execution:
        await execution.stop()
        execution.close()
    record = read(stem.with_name(f"{stem.name}.record"), msgspec.json.Decoder(TaskRecord).decode)
    if record and record.run:
        await clear_up(f"{MARK}={record.run}")
