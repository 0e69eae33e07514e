"""What calls have come by is told to every Call Manager, whichever of them answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import trio
from fastapi import FastAPI

from services.core.admin import serve
from services.core.discovery import Instance
from services.ivr.ways import AT_ONCE, Ways
from tests.support.waiting import until

Calls = dict[str, list[str]]


class Manager:
    """``told`` is what came, request by request; it answers once ``answers`` is set."""

    def __init__(self) -> None:
        self.told: list[Calls] = []
        self.answers = trio.Event()
        self.instance: Instance
        self.app = FastAPI()
        self.app.put("/v1/ways", status_code=204)(self._put)

    async def _put(self, body: dict[str, Calls]) -> None:
        self.told.append(body["calls"])
        await self.answers.wait()


@asynccontextmanager
async def telling(*managers: Manager) -> AsyncGenerator[Ways]:
    """Of Call Managers on loopback."""
    async with httpx.AsyncClient(trust_env=False) as http, trio.open_nursery() as nursery:
        for number, manager in enumerate(managers):
            url = await nursery.start(serve, manager.app, "127.0.0.1", 0)
            manager.instance = Instance(
                id=f"cm{number}",
                name="call-manager",
                node="a",
                address="127.0.0.1",
                meta={"admin": url},
            )
        ways = Ways(http, lambda: [manager.instance for manager in managers])
        nursery.start_soon(ways.run)
        yield ways
        nursery.cancel_scope.cancel()


def heard(manager: Manager, requests: int) -> bool:
    return len(manager.told) >= requests


async def test_what_comes_meanwhile_goes_together() -> None:
    manager = Manager()
    async with telling(manager) as ways:
        ways.tell("a", ["main"])
        await until(lambda: len(manager.told) == 1)
        for number in range(AT_ONCE):
            ways.tell(f"b{number}", ["main"])
        ways.tell("a", ["main", "sales"])
        ways.tell("a", ["main", "sales", "extension 2001"])
        manager.answers.set()
        await until(lambda: len(manager.told) == 3)
    first, second, third = manager.told
    assert first == {"a": ["main"]}
    assert len(second) == AT_ONCE
    assert third == {"a": ["main", "sales", "extension 2001"]}


async def test_who_does_not_answer_holds_up_nobody_else() -> None:
    silent, well = Manager(), Manager()
    well.answers.set()
    async with telling(silent, well) as ways:
        for number in range(3):
            ways.tell("a", [str(number)])
            await until(partial(heard, well, number + 1))
        assert silent.told == [{"a": ["0"]}]
        silent.answers.set()
        await until(lambda: len(silent.told) == 2)
    assert well.told == [{"a": ["0"]}, {"a": ["1"]}, {"a": ["2"]}]
    assert silent.told[1] == {"a": ["2"]}
