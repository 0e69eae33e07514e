"""Agent and Kamailio together: bindings, tables, media servers, draining, bans, a death."""

from __future__ import annotations

import os
from contextlib import suppress

import httpx
import pytest
import trio

from services.core.configuration import Switch, encode
from services.core.events import read_all
from tests.integration.agent.lab import (
    CLUSTER,
    TENANT,
    TOKEN,
    Lab,
    plain,
    user,
    wait_until_up,
)
from tests.integration.agent.phones import Make, ready, registered


async def test_who_may_not_register_loses_the_bindings(manager: Lab, party: Make) -> None:
    some = [user(str(number)) for number in range(2001, 2005)]
    await manager.put_users(*some, replace="spec")
    await manager.put_users(user("3001"), user("3002"))
    manifest = await manager.apply(plain())

    async def in_force() -> bool:
        return (await manager.get("/v1/configuration"))["manifest"] == manifest

    await manager.until(in_force, "the configuration is in force")
    phones = [party(name, 101 + n) for n, name in enumerate(("2001", "2002", "3001", "3002"))]
    await registered(*phones)

    async def bound() -> list[str]:
        return sorted(one["extension"] for one in await manager.get("/v1/registrations"))

    async def only(*names: str) -> float:
        async def so() -> bool:
            return await bound() == list(names)

        return await manager.until(so, f"bindings of {names} alone")

    assert await bound() == ["2001", "2002", "3001", "3002"]
    disabled = f"/v1/tenants/{TENANT}/users/3001"
    assert (await manager.http.patch(disabled, json={"enabled": False})).status_code == 200
    await only("2001", "2002", "3002")
    await manager.put_users(*some[1:], replace="spec")
    await only("2002", "3002")
    # A Kamailio that is away has them in its database, and is told when it is back.
    manager.stop("kamailio")
    assert (await manager.http.delete(f"/v1/tenants/{TENANT}/users/3002")).status_code == 204
    manager.start("kamailio")
    await wait_until_up(manager)
    await only("2002")
    assert "keeps its bindings for now" in manager.log("agent")


@pytest.mark.parametrize("how", ["cut", "zeroed"])
async def test_damaged_tables_are_made_anew(manager: Lab, party: Make, how: str) -> None:
    await manager.put_users(*(user(str(number)) for number in range(2001, 3001)))
    manifest = await manager.apply(plain())

    async def in_force() -> bool:
        found = (await manager.get("/v1/configuration"))["manifest"] == manifest
        return found and (await manager.health())["status"] == "passing"

    await manager.until(in_force, "the configuration is in force")
    alice = party("2001", 101)
    await registered(alice)
    data = manager.settings.tables_dir / "data.mdb"
    size = data.stat().st_size
    if how == "cut":
        # Kamailio's workers die of it, as the agent may: an engine starts both again.
        os.truncate(data, size // 2)
        with suppress(AssertionError):
            await registered(alice)
    else:
        with data.open("r+b") as file:
            file.seek(size // 8 // 4096 * 4096)
            file.write(bytes(size - file.tell()))
        # A worker that has to read: an error, no crash.
        other = party("2900", 102)
        with pytest.raises(AssertionError, match=r"SIP/2\.0 500"):
            await registered(other)
    assert await trio.to_thread.run_sync(manager.ended, "agent") != 0
    await manager.stop_registry()
    manager.start("agent")
    if how == "cut":
        assert await trio.to_thread.run_sync(manager.ended, "kamailio") is not None
        manager.start("kamailio")

    async def told() -> bool:
        try:
            found = await manager.health()
        except httpx.TransportError:
            return False
        return any("tables were damaged" in problem for problem in found["problems"])

    await manager.until(told, "health tells", within=20)
    assert "tables are made anew" in manager.log("agent")
    assert data.with_name("data.mdb.damaged").exists()
    await manager.restart_registry(forget=False)
    await manager.until(in_force, "all is well again", within=40)
    assert not await told()
    await registered(alice, party("2901", 103))


async def test_media_servers_follow_check_and_switch(manager: Lab) -> None:
    await ready(manager, media=("media1", "media2"))

    async def switch(state: str) -> None:
        key = f"pbx/{CLUSTER}/switches/media2/media"
        await manager.registry.put(key, encode(Switch(state=state)))  # type: ignore[arg-type] - the test's own words

    await switch("disabled")
    await manager.media_is(media1="up", media2="disabled")
    await switch("draining")
    await manager.media_is(media1="up", media2="draining")
    await switch("enabled")
    await manager.media_is(media1="up", media2="up")
    manager.stop("media2 rtpengine", 9)
    await manager.media_is(media1="up", media2="down")
    # The agents tell the registry of themselves again; until then the last picture stands.
    await manager.restart_registry(forget=True)

    async def back() -> bool:
        return len(await manager.registry.health("media")) == 2

    await manager.until(back, "media servers are known again", within=20)
    await manager.media_is(media1="up", media2="down")


async def test_a_drained_call_manager_refuses_new_calls(manager: Lab, party: Make) -> None:
    await ready(manager)
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)
    assert (await manager.http.post("/drain")).json() == {"draining": True}

    async def refused() -> bool:
        found = await manager.rpc("htable.dump", "overload")
        return bool(found)

    await manager.until(refused, "routing is told")
    out = await trio.to_thread.run_sync(alice.call, "2002")
    reply = await trio.to_thread.run_sync(out.expect, 503)
    assert reply.get("Retry-After")
    assert "draining" in (await manager.health())["output"]


async def test_bans_are_shown_and_lifted(manager: Lab) -> None:
    await manager.rpc("htable.setxs", "ipban", "192.0.2.1", "authentication", 60)
    shown = await manager.get("/v1/bans/192.0.2.1")
    assert (shown["source"], shown["reason"]) == ("192.0.2.1", "authentication")
    assert [one["source"] for one in await manager.get("/v1/bans")] == ["192.0.2.1"]
    assert (await manager.http.delete("/v1/bans/192.0.2.1")).status_code == 204
    assert (await manager.http.delete("/v1/bans/192.0.2.1")).status_code == 404
    assert await manager.get("/v1/bans") == []


async def test_kamailio_that_dies_is_critical_until_it_is_back(manager: Lab) -> None:
    manager.stop("kamailio", 9)

    async def status(wanted: str) -> bool:
        (found,) = await manager.registry.health("call-manager")
        return found.status == wanted

    await manager.until(lambda: status("critical"), "it is critical", within=30)
    await manager.apply(plain())
    manager.start("kamailio")
    await manager.until(lambda: status("passing"), "it is well again", within=40)
    assert "SIP OPTIONS" in (await manager.health())["output"]
    assert TOKEN not in manager.log("agent")
    assert read_all(manager.settings.spool_dir) == []
