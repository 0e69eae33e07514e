"""IVR servers come, go, are taken out of service and back, and menus change while calls are up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.integration.ivr.conftest import MAIN, ivr_server, menus
from tests.integration.ivr.test_menus import at_the_menu, hears
from tests.support.pbx import Pbx, pbx
from tests.support.phones import PhoneCall


@pytest.fixture
def own(prompts: Path) -> Iterator[Pbx]:
    with pbx(media=1, edit=lambda spec: menus(spec, prompts)) as running:
        yield running


async def served_by(running: Pbx) -> str:
    """The server that a new call gets."""
    async with at_the_menu(running):
        up = await running.admin("/v1/calls")
        newest = max(up, key=lambda call: call["started"])
        return str(newest["app"]).partition("/")[2]


async def is_there(call: PhoneCall) -> None:
    """The call is up, at a menu that waits for a minute: its keys are heard."""
    await call.dial_tones("0")
    await hears(call, "main")
    await call.dial_tones("3")
    await hears(call, "orders")


async def state_of(running: Pbx, server: str, wanted: str) -> None:
    """Until the Call Manager goes by it."""
    with trio.fail_after(20):
        while True:
            apps = (await running.admin("/v1/configuration"))["apps"]
            if any((app["name"], app["state"]) == (server, wanted) for app in apps):
                return
            await trio.sleep(0.1)


async def test_servers_and_menus_change_while_callers_are_there(own: Pbx) -> None:
    async with at_the_menu(own, "2005") as caller:
        await caller.dial_tones("3")
        (first,) = await own.admin("/v1/calls")
        mine = str(first["app"]).partition("/")[2]
        other = {"app1": "app2", "app2": "app1"}[mine]

        await own.run("server", "disable", mine, "--reason", "test")
        await state_of(own, mine, "disabled")
        assert await served_by(own) == other
        await is_there(caller)

        # A third server: nothing of the others restarts, and the call goes on.
        before = own.processes("python", "services.ivr") or own.processes("pbx-ivr")
        changed = own.changed()
        changed["servers"].append(ivr_server(own.network, 3))
        await own.apply(changed)
        await state_of(own, "app3", "up")
        await own.run("server", "disable", other)
        await state_of(own, other, "disabled")
        assert await served_by(own) == "app3"
        await is_there(caller)

        # A menu changes: nothing restarts, new callers hear the new one.
        changed = own.changed()
        tenant = changed["tenants"][0]
        tenant["menus"]["main"]["prompt"] = tenant["menus"]["orders"]["prompt"]
        await own.apply(changed)
        async with own.phone("2001", voice=0) as phone:
            call = await phone.dial(MAIN)
            await call.until("confirmed")
            await hears(call, "orders", settle=2.0)
            await call.hang_up()
        after = own.processes("python", "services.ivr") or own.processes("pbx-ivr")
        assert set(before) <= set(after)

    await own.run("server", "enable", mine)
    await state_of(own, mine, "up")
    drained = await own.run("server", "drain", mine, within=60)
    assert "0 cut" in drained.stdout or "cut" not in drained.stdout
    await state_of(own, mine, "draining")
