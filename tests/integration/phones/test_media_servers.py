"""Media servers that die, hang and join: what the callers heard is the judge."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.support.audio import voices_in
from tests.support.hanging import hung
from tests.support.pbx import Pbx, Spec, media_server, pbx, user
from tests.support.phones import Phone, hear_each_other, talk


def recorded_user(spec: Spec) -> None:
    user(spec, "2009")["record"] = True


@pytest.fixture(scope="module")
def office() -> Iterator[Pbx]:
    with pbx(edit=recorded_user) as running:
        yield running


@asynccontextmanager
async def pair(office: Pbx, one: str, other: str) -> AsyncGenerator[tuple[Phone, Phone]]:
    async with office.phone(one, voice=0) as near, office.phone(other, voice=1) as far:
        yield near, far


async def rtpengine_of(office: Pbx, server: str) -> int:
    address = next(s["address"] for s in office.spec["servers"] if s["name"] == server)
    pids = office.processes("rtpengine", address)
    assert len(pids) == 1, pids
    return pids[0]


async def calls_up(office: Pbx) -> list[dict[str, str]]:
    return (await office.json("calls"))["calls"]


async def good_call(caller: Phone, callee: Phone) -> None:
    near, far = await talk(caller, callee)
    await hear_each_other((near, 1), (far, 0), seconds=1)
    await near.hang_up()


async def test_a_media_server_that_hangs_or_dies_costs_no_new_call(office: Pbx) -> None:
    async with pair(office, "2001", "2002") as (anna, ben):
        near, far = await talk(anna, ben)
        used = (await calls_up(office))[0]["media"]
        await near.hang_up()
        pid = await rtpengine_of(office, used)
        with hung(pid):
            # Whichever server each call would have had: all of them work.
            for _ in range(3):
                near, far = await talk(anna, ben)
                assert (await calls_up(office))[0]["media"] != used
                await hear_each_other((near, 1), (far, 0), seconds=1)
                await near.hang_up()
        os.kill(await rtpengine_of(office, used), signal.SIGKILL)
        for _ in range(3):
            await good_call(anna, ben)


async def test_a_media_server_that_joins_is_not_noticed_by_a_call(office: Pbx) -> None:
    async with pair(office, "2001", "2002") as (anna, ben), pair(office, "2003", "2004") as others:
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=1)
        changed = office.changed()
        changed["servers"].append(media_server(office.network, 3))
        said = await office.apply(changed)
        assert "media3" in said
        # Neither other servers nor the call knew of it.
        for call, voice in ((near, 1), (far, 0)):
            heard = call.heard(voice)
            assert heard.longest_gap < 100, call.phone.describe(str(heard))
            assert heard.duration > 3
        # Calls are spread by load.
        more, _ = await talk(*others)
        assert len({call["media"] for call in await calls_up(office)}) == 2
        for call in (more, near):
            await call.hang_up()


async def recordings_of(office: Pbx, call: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with trio.move_on_after(30):
        while len(found) < count:
            found = await office.admin("/v1/recordings", params={"call": call})
            await trio.sleep(0.2)
    assert len(found) == count, office.logs()
    return found


async def test_a_call_is_recorded_on_demand(office: Pbx) -> None:
    async with pair(office, "2001", "2002") as (anna, ben):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=1)
        (call,) = await calls_up(office)
        path = f"/v1/calls/{quote(call['id'], safe='')}/recording"
        for action in ("start", "start", "stop", "stop"):
            said = await office.admin(path, method="POST", params={"action": action})
            assert said["recording"] == (action == "start")
            await trio.sleep(1)
        await near.hang_up()
        (found,) = await recordings_of(office, call["id"], 1)
        assert found["tenant"] == "acme"
        assert (found["caller"], found["callee"]) == ("2001", "2002")
        assert found["duration"] == pytest.approx(2, abs=0.7)
        assert voices_in(Path(found["path"])) == {0, 1}


async def test_what_a_killed_rtpengine_recorded_is_known_by_its_call(office: Pbx) -> None:
    async with pair(office, "2009", "2002") as (anna, ben):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=3)
        (call,) = await calls_up(office)
        os.kill(await rtpengine_of(office, call["media"]), signal.SIGKILL)
        (found,) = await recordings_of(office, call["id"], 1)
        assert found["tenant"] == "acme"
        assert (found["caller"], found["callee"]) == ("2009", "2002")
        # The call is led anew, and so is its recording.
        with trio.fail_after(30):
            while "its media are led to" not in office.logs(1000):  # noqa: ASYNC110 - its log
                await trio.sleep(0.1)
        await hear_each_other((near, 1), (far, 0), seconds=3)
        await near.hang_up()
        for part in await recordings_of(office, call["id"], 2):
            assert (part["caller"], part["callee"]) == ("2009", "2002")
            assert voices_in(Path(part["path"])) == {0, 1}


async def record_of(office: Pbx, call: str) -> dict[str, Any]:
    """The record of a call that has ended."""
    with trio.fail_after(30):
        while True:
            found = await office.admin("/v1/events", params={"call": call})
            if found:
                return found[0]
            await trio.sleep(0.2)


async def test_how_a_call_sounded_is_in_its_record(office: Pbx) -> None:
    async with pair(office, "2001", "2002") as (anna, ben):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=12)
        (call,) = await calls_up(office)
        await near.hang_up()
        quality = (await record_of(office, call["id"]))["quality"]
        assert quality is not None, office.logs()
        assert 3.5 < quality["mos"] <= 5
        assert quality["loss"] < 2
        assert quality["jitter"] < 100


async def test_a_recorded_call_is_a_file_with_both_voices(office: Pbx) -> None:
    async with pair(office, "2009", "2002") as (anna, ben):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=3)
        (call,) = await calls_up(office)
        await near.hang_up()
        found = await recordings_of(office, call["id"], 1)
        assert (found[0]["caller"], found[0]["callee"]) == ("2009", "2002")
        lasted = (await record_of(office, call["id"]))["duration"]
        assert found[0]["duration"] == pytest.approx(lasted, abs=1.5)
        assert voices_in(Path(found[0]["path"])) == {0, 1}
