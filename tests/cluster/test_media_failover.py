"""A media server fails, and calls go on at another: what phones hear, and where it is recorded."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.cluster.lab import until
from tests.cluster.media_fleet import Fleet, media_fleet
from tests.cluster.rtp import Call, Talking
from tests.support.hanging import stop

log = logging.getLogger(__name__)

SHY = 2.5
"""Seconds for which who has given an address up leaves it to others."""
WRAP = 65_450
"""A first sequence number that begins again from 0 within seconds: SRTP's rollover counter has to
be there after a take-over."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with media_fleet() as found:

        async def begin() -> None:
            await found.network.consul_ready()
            found.start()
            await found.at_home()

        trio.run(begin)
        yield found


@pytest.fixture
def talking() -> Iterator[Talking]:
    with Talking() as found:
        yield found


async def calls_on(fleet: Fleet, talking: Talking, server: str, count: int = 6) -> list[Call]:
    """Calls on a server, half of them with SDES keys, of which the other has copies."""
    other = next(name for name in fleet.servers if name != server)
    before = await fleet.metric(other, "pbx_media_sessions_copied")
    control = fleet.control(server)
    found = [
        talking.call(
            fleet.phones,
            fleet.phones,
            control,
            secure=bool(number % 2),
            sequence=WRAP if number % 2 else 1000,
        )
        for number in range(count)
    ]
    await fleet.copied(other, int(before) + count)
    return found


async def wrapped() -> None:
    """Until the sequence numbers have begun again, and the next take-over is open to all."""
    await trio.sleep(max(SHY, (65_536 - WRAP) * 0.02 + 1))


async def held_by(fleet: Fleet, home: str, holder: str) -> None:
    async def there() -> bool:
        return await fleet.holder(home) == holder

    await until(f"{home}'s address with {holder}", there, why=fleet.network.logs)


async def talk_on(calls: list[Call], why: Callable[[], str]) -> None:
    """Both sides of every call hear the other, nearly every packet of it."""

    async def all_hear() -> bool:
        began = time.monotonic()
        await trio.sleep(1.5)
        heard = [side for call in calls for side in call.heard(began)]
        return all(side.received > 50 and side.lost <= 3 for side in heard)

    await until("calls that go on", all_hear, why=why)
    for call in calls:
        assert call.caller.undecodable <= 5, call.id
        assert call.callee.undecodable <= 5, call.id


def figure(what: str, calls: list[Call], since: float) -> None:
    """Told with ``pytest --log-cli-level=INFO``; no test depends on it."""
    heard = [side for call in calls for side in call.heard(since)]
    gaps = sorted(side.gap for side in heard)
    worst = max(side.lost for side in heard)
    log.info("%s: gap %.3f s, worst %.3f s, %d packets lost", what, gaps[0], gaps[-1], worst)


def power_off(fleet: Fleet) -> Callable[[], object]:
    fleet.servers["ms1"].power_off()
    return fleet.servers["ms1"].power_on


def killed(program: str) -> Callable[[Fleet], Callable[[], object]]:
    def fail(fleet: Fleet) -> Callable[[], object]:
        os.kill(fleet.pid("ms1", program), signal.SIGKILL)
        return lambda: None

    return fail


def hung(program: str) -> Callable[[Fleet], Callable[[], object]]:
    def fail(fleet: Fleet) -> Callable[[], object]:
        pid = fleet.pid("ms1", program)
        stop(pid)
        return lambda: os.kill(pid, signal.SIGCONT)

    return fail


FAILURES = {
    "host powered off": power_off,
    "rtpengine killed": killed("rtpengine"),
    "rtpengine hung": hung("rtpengine"),
    "agent killed": killed("agent"),
    "agent hung": hung("agent"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_calls_go_on_at_another_server_and_come_back(
    fleet: Fleet, talking: Talking, what: str
) -> None:
    calls = await calls_on(fleet, talking, "ms1")
    elsewhere = await calls_on(fleet, talking, "ms2", 2)
    await wrapped()
    began = time.monotonic()
    mend = FAILURES[what](fleet)
    await held_by(fleet, "ms1", "ms2")
    await talk_on([*calls, *elsewhere], fleet.network.logs)
    figure(what, calls, began)
    mend()
    began = time.monotonic()
    await fleet.at_home()
    await talk_on([*calls, *elsewhere], fleet.network.logs)
    figure(f"{what}, given back", calls, began)
    for call in [*calls, *elsewhere]:
        call.end()
    await fleet.copied("ms1", 0)
    await fleet.copied("ms2", 0)


async def test_calls_that_were_taken_over_can_be_changed_and_ended(
    fleet: Fleet, talking: Talking
) -> None:
    calls = await calls_on(fleet, talking, "ms1", 4)
    await wrapped()
    fleet.servers["ms1"].power_off()
    await held_by(fleet, "ms1", "ms2")
    await talk_on(calls, fleet.network.logs)
    taker = fleet.control("ms2")
    for call in calls[:2]:
        call.signal(control=taker)
        assert call.caller.target is not None
        # A phone that hears of another address would have to be told by everybody else.
        assert call.caller.target[0] == fleet.address("ms1")
    await talk_on(calls, fleet.network.logs)
    for call in calls[2:]:
        call.control = taker
        call.end()
    fleet.servers["ms1"].power_on()
    await fleet.at_home()
    await fleet.copied("ms2", 2)
    home = fleet.control("ms1")
    await talk_on(calls[:2], fleet.network.logs)
    for call in calls[:2]:
        call.signal(control=home)
    await talk_on(calls[:2], fleet.network.logs)
    for call in calls[:2]:
        call.end()
    await fleet.copied("ms2", 0)


async def test_redis_may_come_back_empty(fleet: Fleet, talking: Talking) -> None:
    calls = await calls_on(fleet, talking, "ms1", 4)
    await wrapped()
    began = time.monotonic()
    assert fleet.redis_process is not None
    fleet.redis_process.kill()
    control = fleet.control("ms1")
    calls.append(talking.call(fleet.phones, fleet.phones, control, secure=True))
    calls[0].signal()
    fleet.start_redis()
    await fleet.copied("ms2", 5)
    await talk_on(calls, fleet.network.logs)
    figure("Redis killed, and started empty", calls, began)
    # Away again: what the other server knows, it knows without it.
    fleet.redis_process.kill()
    await trio.sleep(SHY)
    began = time.monotonic()
    fleet.servers["ms1"].power_off()
    await held_by(fleet, "ms1", "ms2")
    await talk_on(calls, fleet.network.logs)
    figure("host powered off with Redis away", calls, began)
    fleet.start_redis()
    fleet.servers["ms1"].power_on()
    await fleet.at_home()
    await talk_on(calls, fleet.network.logs)
    for call in calls:
        call.control = control
        call.end()
    await fleet.copied("ms2", 0)


async def test_a_redis_that_hangs_stops_nobody(fleet: Fleet, talking: Talking) -> None:
    calls = await calls_on(fleet, talking, "ms1", 2)
    await wrapped()
    agents = {name: fleet.pid(name, "agent") for name in fleet.servers}
    assert fleet.redis_process is not None
    fleet.redis_process.pause()
    began = time.monotonic()
    calls.append(talking.call(fleet.phones, fleet.phones, fleet.control("ms1"), secure=True))

    async def noticed() -> bool:
        return await fleet.metric("ms1", "pbx_media_mirror_up") == 0

    await until("an agent that misses Redis", noticed, why=fleet.network.logs)
    await talk_on(calls, fleet.network.logs)
    figure("Redis hung", calls[:2], began)
    fleet.redis_process.resume()
    await fleet.copied("ms2", 3)
    assert agents == {name: fleet.pid(name, "agent") for name in fleet.servers}
    for call in calls:
        call.end()
    await fleet.copied("ms2", 0)


async def test_calls_set_up_while_the_agent_was_away_are_mirrored_when_it_is_back(
    fleet: Fleet, talking: Talking
) -> None:
    pid = fleet.pid("ms2", "agent")
    os.kill(pid, signal.SIGKILL)
    calls = [
        talking.call(fleet.phones, fleet.phones, fleet.control("ms2"), secure=secure)
        for secure in (True, False)
    ]
    await fleet.copied("ms1", 2, within=60.0)
    await fleet.at_home()
    await talk_on(calls, fleet.network.logs)
    for call in calls:
        call.end()
    await fleet.copied("ms1", 0)


async def test_a_server_is_drained_by_handing_its_calls_over(
    fleet: Fleet, talking: Talking
) -> None:
    calls = await calls_on(fleet, talking, "ms1")
    await wrapped()
    before = await fleet.metric("ms1", "pbx_media_sessions_handed_over")
    began = time.monotonic()
    await fleet.switch("ms1", "draining")
    await held_by(fleet, "ms1", "ms2")
    await talk_on(calls, fleet.network.logs)
    figure("drained", calls, began)

    async def counted() -> bool:
        return await fleet.metric("ms1", "pbx_media_sessions_handed_over") == before + len(calls)

    await until("the count of calls handed over", counted, why=fleet.network.logs)
    await fleet.switch("ms1", "enabled")
    await fleet.at_home()
    await talk_on(calls, fleet.network.logs)
    for call in calls:
        call.end()
    await fleet.copied("ms2", 0)


async def test_a_recording_goes_on_in_a_second_file(fleet: Fleet, talking: Talking) -> None:
    about = "tenant=acme&caller=2001&callee=2002&tag=caller"
    call = talking.call(
        fleet.phones,
        fleet.phones,
        fleet.control("ms1"),
        more={"record call": "on", "metadata": about},
    )
    await fleet.copied("ms2", 1)
    await trio.sleep(SHY)
    fleet.servers["ms1"].power_off()
    await held_by(fleet, "ms1", "ms2")
    await talk_on([call], fleet.network.logs)

    async def recording() -> bool:
        return await fleet.metric("ms2", "pbx_media_recordings") == 1

    await until("the recording at the other server", recording, why=fleet.network.logs)
    await trio.sleep(2)
    call.control = fleet.control("ms2")
    call.end()
    fleet.servers["ms1"].power_on()

    def is_there(part: dict[str, object]) -> bool:
        return Path(str(part["path"])).exists()

    def parts() -> list[dict[str, object]]:
        """Entries for the index, of which no Call Manager is here to take any."""
        found = [
            json.loads(path.read_text())
            for host in fleet.servers.values()
            for path in Path(host.directory, "recordings", "unindexed").glob("[!.]*.json")
        ]
        return sorted((one for one in found if one["call"] == call.id), key=lambda one: one["id"])

    async def both() -> bool:
        return len(parts()) == 2

    await until("two recordings of the call", both, within=90.0, why=fleet.network.logs)
    first, second = parts()
    assert (first["server"], second["server"]) == ("ms1", "ms2")
    assert str(first["id"]) < str(second["id"])
    assert second["tenant"] == "acme"
    assert isinstance(first["duration"], float)
    assert isinstance(second["duration"], float)
    assert first["duration"] > 1
    assert second["duration"] > 1
    assert is_there(first)
    assert is_there(second)
    await fleet.at_home()
