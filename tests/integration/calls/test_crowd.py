"""Many calls at once, answered, refused and cancelled in any mixture: nothing is lost or left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trio

from services.core.events import Answered, Ended, Event, Started
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party
from tests.support.sipp import sipp

SCENARIOS = Path(__file__).parent / "scenarios"
CALLS = 150


async def test_a_crowd_leaves_nothing_behind(lab: Lab, party: Callable[..., Party]) -> None:
    lab.change_user("2001", max_calls=12)
    callee, sbc = f"{lab.network}.40", f"{lab.network}.102"
    # SIPp goes on where this phone has registered.
    party("2001", host=40).connection.close()
    most = 0
    async with (
        sipp(SCENARIOS / "crowd_callee.xml", address=callee, calls=0),
        sipp(
            SCENARIOS / "crowd_caller.xml",
            address=sbc,
            port=5080,
            target=f"{lab.address}:5060",
            calls=CALLS,
            rate=60,
        ) as caller,
    ):
        with trio.fail_after(40):
            while caller.process.returncode is None:
                most = max(most, lab.counters().get("u:sales/2001", 0))
                await trio.sleep(0.05)
        await caller.succeed()
    # At its limit, and never past it.
    assert 10 <= most <= 12
    lab.idle()
    events: list[Event] = []
    with trio.move_on_after(5):
        while sum(isinstance(event, Ended) for event in events) < CALLS:
            events += lab.tail.read()
            await trio.sleep(0.05)
    kinds = Counter(type(event) for event in events)
    assert kinds[Started] == kinds[Ended] == CALLS
    assert len({event.call for event in events if isinstance(event, Ended)}) == CALLS
    answered = {event.call for event in events if isinstance(event, Answered)}
    assert len(answered) == kinds[Answered] > 0
    assert answered == {e.call for e in events if isinstance(e, Ended) and e.answered}
    codes = Counter(event.code for event in events if isinstance(event, Ended))
    assert set(codes) == {200, 486, 487}
