"""From the registry to the tables that routing reads: whole, soon, and kept while all is away."""

from __future__ import annotations

import signal

import trio

from services.call_manager.state import LASTING
from services.call_manager.tables import TablesReader
from services.core.assembly import MANIFEST
from services.core.configuration import Tenant, encode
from tests.integration.agent.lab import (
    CLUSTER,
    DOMAIN,
    TENANT,
    Lab,
    manifest_of,
    plain,
    user,
    wait_until_up,
)


def tables(lab: Lab) -> TablesReader:
    found = TablesReader(lab.settings.tables_dir)
    found.refresh()
    return found


async def in_force(lab: Lab, digest: str) -> float:
    async def same() -> bool:
        return (await lab.get("/v1/configuration"))["manifest"] == digest

    return await lab.until(same, "the manifest is in force", within=5)


async def test_a_change_is_in_the_tables_within_a_second(agent: Lab) -> None:
    await in_force(agent, await agent.apply(plain()))
    reader = tables(agent)
    found = reader.tenant_of(DOMAIN)
    number = reader.number("+4930123")
    assert found is not None
    assert number is not None
    assert (found.name, number.tenant, number.destination.target) == (TENANT, TENANT, "2001")
    took: list[float] = []
    for domain in ("newer.example", "newest.example", "new.example"):
        changed = plain() | {f"tenants/{TENANT}": Tenant(name=TENANT, domains=(domain,))}
        took.append(await in_force(agent, await agent.apply(changed)))
    # The machine that tests share may be busy for one of them.
    assert min(took) < 1, took
    reader.refresh()
    assert reader.tenant_of(DOMAIN) is None
    assert reader.tenant_of("new.example") is not None
    shown = await agent.get("/v1/configuration")
    assert (shown["generation"], shown["problems"]) == (1 + len(took), [])


async def test_a_tenant_that_there_is_not_is_said(agent: Lab) -> None:
    await in_force(agent, await agent.apply(plain()))
    for path in (
        "/v1/tenants/nope/users",
        "/v1/registrations?tenant=nope",
        "/v1/calls?tenant=nope",
    ):
        answer = await agent.http.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"] == f"no tenant is named nope; the tenants are {TENANT}"
    assert await agent.get(f"/v1/tenants/{TENANT}/users") == []


async def test_half_a_configuration_is_not_taken(agent: Lab) -> None:
    first = await agent.apply(plain())
    await in_force(agent, first)
    new = {f"tenants/{TENANT}": encode(Tenant(name=TENANT, domains=("new.example",)))}
    whole = agent.documents | new
    await agent.put(MANIFEST, manifest_of(whole))

    async def told() -> bool:
        return bool((await agent.get("/v1/configuration"))["problems"])

    await agent.until(told, "the missing document is told")
    shown = await agent.get("/v1/configuration")
    assert shown["manifest"] == first
    assert f"tenants/{TENANT}: is not the version" in shown["problems"][0]
    assert tables(agent).tenant_of(DOMAIN) is not None
    assert (await agent.health())["problems"]
    await agent.put(f"tenants/{TENANT}", new[f"tenants/{TENANT}"])

    async def taken() -> bool:
        shown = await agent.get("/v1/configuration")
        return shown["problems"] == [] and shown["manifest"] != first

    await agent.until(taken, "the whole is taken")
    assert tables(agent).tenant_of("new.example") is not None


async def test_documents_before_their_manifest_are_no_problem_unless_it_stays_away(
    agent: Lab,
) -> None:
    await in_force(agent, await agent.apply(plain()))
    key = f"tenants/{TENANT}"
    new = encode(Tenant(name=TENANT, domains=("new.example",)))
    began = trio.current_time()
    await agent.put(key, new)

    async def told() -> bool:
        (found,) = await agent.registry.health("call-manager")
        return f"{key}: is not the version" in found.output

    await agent.until(told, "the registry is told of what stays", within=30)
    assert trio.current_time() - began >= LASTING
    await agent.put(MANIFEST, manifest_of(agent.documents | {key: new}))

    async def over() -> bool:
        return not await told()

    await agent.until(over, "the registry is told that it is over")


async def test_users_are_in_the_tables_when_the_api_answers(agent: Lab) -> None:
    answer = await agent.put_users(user("2001"), user("2002", name="Two"), replace="api")
    assert answer.json() == {"written": 2, "unchanged": 0, "removed": 0}
    reader = tables(agent)
    assert reader.user(TENANT, "2002") == user("2002", name="Two")
    path = f"/v1/tenants/{TENANT}/users/2002"
    changed = await agent.http.patch(path, json={"do_not_disturb": True})
    assert changed.status_code == 200
    reader.refresh()
    found = reader.user(TENANT, "2002")
    assert found is not None
    assert found.do_not_disturb
    assert found.ha1_md5 == user("2002").ha1_md5
    assert (await agent.http.delete(path)).status_code == 204
    reader.refresh()
    assert reader.user(TENANT, "2002") is None
    assert reader.complete


async def test_a_killed_agent_comes_back_with_everything(agent: Lab) -> None:
    digest = await agent.apply(plain())
    await in_force(agent, digest)
    await agent.put_users(user("2001"))
    agent.stop("agent", signal.SIGKILL)
    agent.start("agent")
    await wait_until_up(agent, kamailio=False)
    await in_force(agent, digest)
    assert tables(agent).user(TENANT, "2001") == user("2001")
    assert "users copied: all" not in agent.log("agent").rsplit("is in force", 1)[-1]


async def test_the_agent_stops_soon_and_leaves_the_registry(agent: Lab) -> None:
    async def registered() -> bool:
        return bool(await agent.registry.health("call-manager"))

    await agent.until(registered, "registered")
    await trio.to_thread.run_sync(agent.stop, "agent")
    assert not await registered()
    assert "Traceback" not in agent.log("agent")


async def test_it_tells_the_registry_of_itself(agent: Lab) -> None:
    async def registered() -> bool:
        return bool(await agent.registry.health("call-manager"))

    await agent.until(registered, "registered")
    (found,) = await agent.registry.health("call-manager")
    assert found.id == f"{CLUSTER}-call-manager-cm1"
    assert found.meta["admin"] == f"http://{agent.settings.address}:7080"
    assert found.meta["cluster"] == CLUSTER
    assert CLUSTER in found.tags

    async def critical() -> bool:
        (found,) = await agent.registry.health("call-manager")
        return found.status == "critical" and "SIP OPTIONS" in found.output

    await agent.until(critical, "a Call Manager without Kamailio is critical")


async def test_a_registry_that_comes_back_empty_is_told_again(agent: Lab) -> None:
    digest = await agent.apply(plain())
    await in_force(agent, digest)
    await agent.put_users(user("2001"))
    await agent.restart_registry(forget=True)

    async def back() -> bool:
        return bool(await agent.registry.health("call-manager"))

    await agent.until(back, "registered again", within=20)
    # An empty registry has no manifest; what was in force goes on.
    assert (await agent.get("/v1/configuration"))["manifest"] == digest
    assert tables(agent).tenant_of(DOMAIN) is not None


async def test_an_absent_registry_is_told_and_calls_go_on(agent: Lab) -> None:
    digest = await agent.apply(plain())
    await in_force(agent, digest)
    await agent.stop_registry()

    async def told() -> bool:
        return any("registry" in text for text in (await agent.health())["problems"])

    await agent.until(told, "health tells that the registry is away", within=20)
    assert (await agent.put_users(user("2001"))).status_code == 200
    assert tables(agent).user(TENANT, "2001") is not None
    assert (await agent.get("/v1/configuration"))["manifest"] == digest
    await agent.restart_registry(forget=False)

    async def well() -> bool:
        return not any("registry" in text for text in (await agent.health())["problems"])

    await agent.until(well, "health tells no more", within=20)
