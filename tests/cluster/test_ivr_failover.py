"""An IVR server is gone, and its calls go on at another one: what callers hear of it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from tests.cluster.ivr_fleet import IN, OUT, PROMPT, SAID, SECONDS, IvrFleet, ivr_fleet
from tests.cluster.lab import until
from tests.support.hanging import stop
from tests.support.ivr_phone import RATE

log = logging.getLogger(__name__)

NEXT = 1
TWICE = 1.5
"""Seconds of a prompt that may be heard again: it is written down once a second."""
GAP = 3.0
"""Seconds without a server, on a busy machine; figures are logged."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[IvrFleet]:
    with ivr_fleet() as running:
        yield running


async def killed(fleet: IvrFleet) -> None:
    fleet.signal("app1", signal.SIGKILL)


async def hung(fleet: IvrFleet) -> None:
    stop(fleet.pid("app1"))


async def powered_off(fleet: IvrFleet) -> None:
    fleet.servers["app1"].power_off()


async def terminated(fleet: IvrFleet) -> None:
    fleet.signal("app1", signal.SIGTERM)


async def handed_over(fleet: IvrFleet) -> None:
    assert await fleet.post("app1", "/v1/hand-over") == {"calls": 1}


async def cut_off(fleet: IvrFleet) -> None:
    """The caller still hears it, and Redis and Consul are where the managers are."""
    fleet.servers["app1"].partition(*fleet.managers)


async def unheard(fleet: IvrFleet) -> None:
    fleet.servers["app1"].partition(*fleet.managers, direction="to")


async def deaf(fleet: IvrFleet) -> None:
    fleet.servers["app1"].partition(*fleet.managers, direction="from")


Failure = Callable[[IvrFleet], Awaitable[None]]
LONG = pytest.mark.long
FAILURES = [
    killed,
    *(pytest.param(each, marks=LONG) for each in (hung, powered_off, terminated, handed_over)),
    *(pytest.param(each, marks=LONG) for each in (cut_off, unheard, deaf)),
]


async def back(fleet: IvrFleet) -> None:
    """The first server is there again, and takes calls."""
    host = fleet.servers["app1"]
    host.heal()
    if not host.on:
        host.power_on()
    elif fleet.processes["app1"].running:
        with suppress(AssertionError):  # it may be about to end
            fleet.signal("app1", signal.SIGCONT)
            fleet.signal("app1", signal.SIGTERM)
        await fleet.processes["app1"].wait(20)
    fleet.start_server("app1")
    await fleet.up("app1")
    # Until it counts as up for who inherits, too.
    await trio.sleep(6)


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_prompt_goes_on_where_it_was(fleet: IvrFleet, failure: Failure) -> None:
    before = await fleet.metric("app2", "pbx_ivr_adopted_total")
    await fleet.dial("app1")
    await trio.sleep(2.5)
    await failure(fleet)
    await fleet.adopted("app2", before + 1)
    if failure is hung:
        # It says nothing on what was its call, not even when it is back.
        await trio.sleep(2.0)
        fleet.signal("app1", signal.SIGCONT)
    await trio.sleep(SECONDS)
    await fleet.side(OUT, "up")
    await fleet.hang_up()
    await back(fleet)
    goes_on(fleet.heard(), failure.__name__)


def goes_on(heard: audio.Samples, what: str) -> None:
    """All of the prompt was heard, with one pause and little of it twice."""
    frames = heard[: len(heard) // 160 * 160].reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > 0.01) / 50
    pauses = np.diff(loud)
    at = int(pauses.argmax())
    gap, start, end = float(pauses[at]), float(loud[at]), float(loud[at + 1])
    assert gap < GAP
    assert (np.delete(pauses, at) < 0.2).all()
    before = audio.judge(heard, RATE, PROMPT, end=start - 0.1)
    after = audio.judge(heard, RATE, PROMPT, start=end + 0.1, end=float(loud[-1]) - 0.1)
    assert after.coverage > 0.9
    assert before.offset is not None
    assert after.offset is not None
    again = (after.offset - before.offset - gap + 0.2) % audio.PERIOD - 0.2
    log.info("%s: %.2f s of silence, %.2f s were heard twice", what, gap, again)
    assert -0.1 < again < TWICE, f"{again:.2f} s were heard twice"
    spoken = float(loud[-1] - loud[0]) - gap
    assert SECONDS - 0.2 < spoken < SECONDS + TWICE


async def test_two_who_were_connected_go_on_talking(fleet: IvrFleet) -> None:
    before = await fleet.metric("app2", "pbx_ivr_adopted_total")
    await fleet.ask(f"answer {NEXT}")
    await fleet.dial("app1", "connect")
    await fleet.side(IN, "up")
    await trio.sleep(1.0)
    await fleet.ask(f"say {SAID}")
    await trio.sleep(1.0)
    await killed(fleet)
    await fleet.adopted("app2", before + 1)
    await trio.sleep(2.0)
    await fleet.hang_up()
    await fleet.side(IN, "over")
    await back(fleet)
    for side, voice in ((OUT, NEXT), (IN, SAID)):
        found = audio.judge(fleet.heard(side), RATE, voice)
        assert found.longest_gap < 100, side
        assert found.duration > 3, side


@pytest.mark.long
@pytest.mark.parametrize("hangs_up", [False, True])
@pytest.mark.parametrize("failure", [killed, terminated])
async def test_a_message_is_whole(fleet: IvrFleet, failure: Failure, *, hangs_up: bool) -> None:
    before = await fleet.metric("app2", "pbx_ivr_adopted_total")
    there = spooled(fleet)
    await fleet.dial("app1", "record")
    await trio.sleep(1.0)
    await fleet.ask(f"say {SAID}")
    await trio.sleep(3.2)
    await failure(fleet)
    if hangs_up:
        # Who is told to stop may hear of it yet, and keeps the message then.
        await fleet.ask("hang up")
    else:
        await fleet.adopted("app2", before + 1)
        await trio.sleep(3.0)
        await fleet.ask("keys #")

    async def kept() -> bool:
        return len(spooled(fleet)) > len(there)

    await until("a message", kept, within=20, why=fleet.network.logs)
    if not hangs_up:
        await fleet.hang_up()
    (message,) = spooled(fleet) - there
    (sound, *_), rate = audio.read_wav(message.with_suffix(".wav"))
    said = audio.judge(sound, rate, SAID)
    assert said.duration > (1.9 if hangs_up else 4.5)
    assert said.likeness > 0.7
    await back(fleet)


def spooled(fleet: IvrFleet) -> set[Path]:
    return {path for name in fleet.servers for path in fleet.spool(name)}
