"""Sessions and locks."""

from __future__ import annotations

import httpx
import pytest
import trio

from services.core.discovery import Check, Registry, RegistryRefusedError, Service, Session
from tests.support.waiting import eventually

GONE = "11111111-2222-3333-4444-555555555555"


async def test_only_one_session_holds_a_lock(registry: Registry) -> None:
    first = await registry.create_session(Session(name="cm1"))
    second = await registry.create_session(Session(name="cm2"))
    assert await registry.put("vip", b"cm1", acquire=first)
    assert not await registry.put("vip", b"cm2", acquire=second)
    assert await registry.put("vip", b"cm1 again", acquire=first)
    entry = await registry.get("vip")
    assert entry is not None
    assert (entry.session, entry.lock_index, entry.value) == (first, 1, b"cm1 again")
    assert not await registry.put("vip", b"", release=second)
    assert await registry.put("vip", b"free", release=first)
    assert await registry.put("vip", b"cm2", acquire=second)
    entry = await registry.get("vip")
    assert entry is not None
    assert (entry.session, entry.lock_index) == (second, 2)


async def test_a_plain_write_leaves_the_lock(registry: Registry) -> None:
    session = await registry.create_session(Session())
    await registry.put("vip", b"1", acquire=session)
    assert await registry.put("vip", b"2")
    entry = await registry.get("vip")
    assert entry is not None
    assert (entry.session, entry.value) == (session, b"2")


@pytest.mark.parametrize("behavior", ["release", "delete"])
async def test_a_destroyed_session_frees_its_keys(registry: Registry, behavior: str) -> None:
    session = await registry.create_session(
        Session(behavior="delete" if behavior == "delete" else "release")
    )
    await registry.put("vip", b"1", acquire=session)
    await registry.destroy_session(session)
    await registry.destroy_session(session)
    entry = await registry.get("vip")
    if behavior == "delete":
        assert entry is None
    else:
        assert entry is not None
        assert (entry.session, entry.value) == ("", b"1")
    assert not await registry.renew_session(session)


async def test_lock_delay_holds_others_off(registry: Registry) -> None:
    first = await registry.create_session(Session(lock_delay=1.5))
    second = await registry.create_session(Session())
    await registry.put("vip", b"1", acquire=first)
    await registry.destroy_session(first)
    started = trio.current_time()
    assert not await registry.put("vip", b"2", acquire=second)
    await eventually(lambda: registry.put("vip", b"2", acquire=second))
    assert trio.current_time() - started > 1.0


async def test_a_session_ends_with_its_services_check(registry: Registry) -> None:
    await registry.register(Service(id="cm1", name="cm", checks=(Check(ttl=60),)))
    with pytest.raises(RegistryRefusedError):
        await registry.create_session(Session(service_checks=("service:cm1",)))
    await registry.report("cm1", "passing", "OPTIONS 2 ms")
    await eventually(lambda: registry.health("cm"), lambda found: found and found[0].passing)
    session = await registry.create_session(Session(service_checks=("service:cm1",)))
    assert await registry.put("vip", b"1", acquire=session)
    await registry.report("cm1", "critical", "no answer")
    await eventually(lambda: registry.renew_session(session), lambda alive: not alive)
    entry = await registry.get("vip")
    assert entry is not None
    assert entry.session == ""


async def test_unknown_sessions(http: httpx.AsyncClient, registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="invalid session"):
        await registry.put("vip", b"1", acquire=GONE)
    assert not await registry.renew_session(GONE)
    assert (await http.get(f"session/info/{GONE}")).json() == []
    assert (await http.put(f"session/destroy/{GONE}")).text == "true"


async def test_session_fields(http: httpx.AsyncClient) -> None:
    body = {"Name": "n", "TTL": "15s", "LockDelay": "5s", "Behavior": "delete"}
    session = (await http.put("session/create", json=body)).json()["ID"]
    (info,) = (await http.get(f"session/info/{session}")).json()
    assert info["ID"] == session
    assert info["Name"] == "n"
    assert info["TTL"] == "15s"
    assert info["LockDelay"] == 5_000_000_000
    assert info["Behavior"] == "delete"
    assert info["NodeChecks"] == ["serfHealth"]
    assert info["Node"] == "local"
    assert (await http.put(f"session/renew/{session}")).json()[0]["ID"] == session
    for path in ("session/list", "session/node/local"):
        assert session in [one["ID"] for one in (await http.get(path)).json()]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"TTL": "5s"}, 500),
        ({"TTL": "25h"}, 500),
        ({"Behavior": "keep"}, 500),
        ({"NodeChecks": ["none"]}, 500),
        ({"LockDelay": "soon"}, 400),
    ],
)
async def test_bad_sessions_are_refused(
    http: httpx.AsyncClient, body: dict[str, str], status: int
) -> None:
    assert (await http.put("session/create", json=body)).status_code == status
