"""An IVR server's side of voicemail boxes against a real Call Manager, there or away."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from services.core.discovery import Instance
from services.ivr.boxes import Boxes, Left
from tests.integration.agent.lab import TENANT, TOKEN, Lab, user, wait_until_up
from tests.integration.agent.test_voicemail import pitch, tone

BOX = f"/v1/tenants/{TENANT}/voicemail/2001"


@asynccontextmanager
async def boxes(agent: Lab, directory: Path) -> AsyncGenerator[Boxes]:
    s = agent.settings
    there = Instance(
        id="cm1",
        name="call-manager",
        node="cm1",
        address=s.address,
        meta={"admin": f"http://{s.address}:{s.admin_port}"},
    )
    dead = Instance(
        id="cm2",
        name="call-manager",
        node="cm2",
        address=s.address,
        meta={"admin": f"http://{s.address}:1"},
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(headers=headers, trust_env=False) as http,
        trio.open_nursery() as nursery,
    ):
        found = Boxes(directory, http, lambda: (dead, there))
        nursery.start_soon(found.run)
        yield found
        nursery.cancel_scope.cancel()


def spoken(found: Boxes, seconds: float = 2.0) -> str:
    """A recording that was made; its name."""
    path = found.path()
    path.write_bytes(tone(seconds))
    return path.stem


def left(name: str, owner: str = "2001") -> Left:
    return Left(id=name, tenant=TENANT, owner=owner, left_at=time.time(), caller="2002", name="Ben")


async def test_a_message_survives_who_should_have_taken_it(agent: Lab, tmp_path: Path) -> None:
    await agent.put_users(user("2001"))
    agent.stop("agent")
    async with boxes(agent, tmp_path / "box") as found:
        found.keep(left("m1"), spoken(found))
        assert found.waiting == 1
        opened = await found.open(1, TENANT, "2001")
        assert not opened.known
        assert (await found.unlock(2, TENANT, "2001", "4711")).result == "away"
        assert (await found.set_pin(3, TENANT, "2001", "4711")).result == "away"
    # The IVR server dies too, and is started again before the Call Manager is.
    async with boxes(agent, tmp_path / "box") as found:
        assert found.waiting == 1
        agent.start("agent")
        await wait_until_up(agent, kamailio=False)

        async def taken() -> bool:
            return found.waiting == 0

        await agent.until(taken, "the message is taken")
        (one,) = await agent.get(f"{BOX}/messages")
        assert (one["id"], one["caller"], one["name"]) == ("m1", "2002", "Ben")
        assert list((tmp_path / "box" / "spool").iterdir()) == []


async def test_a_box_through_a_server(agent: Lab, tmp_path: Path) -> None:
    await agent.put_users(user("2001"))
    async with boxes(agent, tmp_path / "box") as found:
        opened = await found.open(1, TENANT, "2001")
        assert (opened.serial, opened.there, opened.known, opened.has_pin) == (1, True, True, False)
        nobody = await found.open(2, TENANT, "2999")
        assert not nobody.there
        for number in (1, 2):
            found.keep(left(f"m{number}"), spoken(found))

        async def both() -> bool:
            return len(await agent.get(f"{BOX}/messages")) == 2

        await agent.until(both, "both messages are there")
        unlocked = await found.unlock(3, TENANT, "2001", "")
        assert unlocked.result == "no pin"
        assert [one.id for one in unlocked.messages] == ["m1", "m2"]
        assert unlocked.messages[0].new
        path = await found.sound(TENANT, "2001/m1")
        assert abs(pitch(path.read_bytes())[1] - 440) < 5
        await found.mark(TENANT, "2001", "m1", "saved")
        await found.mark(TENANT, "2001", "m2", "deleted")
        assert (await found.set_pin(4, TENANT, "2001", "1234")).result == "refused"
        assert (await found.set_pin(5, TENANT, "2001", "4711")).result == "done"
        assert (await found.unlock(6, TENANT, "2001", "0000")).result == "wrong"
        unlocked = await found.unlock(7, TENANT, "2001", "4711")
        assert unlocked.result == "open"
        assert [(one.id, one.new) for one in unlocked.messages] == [("m1", False)]
        assert (await found.set_greeting(8, TENANT, "2001", spoken(found))).result == "done"
        assert (await found.open(9, TENANT, "2001")).has_greeting
        assert (await found.sound(TENANT, "2001/")).exists()
        assert (await found.set_greeting(10, TENANT, "2001", "")).result == "done"
        assert not (await found.open(11, TENANT, "2001")).has_greeting


async def test_what_no_box_takes_is_set_aside(agent: Lab, tmp_path: Path) -> None:
    await agent.put_users(user("2001"))
    async with boxes(agent, tmp_path / "box") as found:
        found.keep(left("m1", owner="2999"), spoken(found))
        broken = found.path()
        broken.write_bytes(b"no sound")
        found.keep(left("m2"), broken.stem)
        found.keep(left("m3"), spoken(found))

        async def done() -> bool:
            return found.waiting == 0

        await agent.until(done, "nothing waits any more")
        assert [one["id"] for one in await agent.get(f"{BOX}/messages")] == ["m3"]
        aside = sorted(path.name for path in (tmp_path / "box" / "refused").iterdir())
        assert aside == ["m1.json", "m1.wav", "m2.json", "m2.wav"]
    shutil.rmtree(tmp_path / "box")
