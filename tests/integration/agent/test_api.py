"""The admin API over HTTP, on both databases; and what it says while the database is away."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import trio
from sqlalchemy.engine import make_url

from services.core.admin.application import PUBLIC
from services.core.configuration import digest, encode
from services.core.store.users import Source
from tests.integration.agent.lab import ROOT, TENANT, TOKEN, Lab, lab, user
from tests.support.hosts import loopback_network
from tests.support.postgresql import postgresql_server

ARCHITECTURE = ROOT / "docs" / "architecture.md"
USERS = f"/v1/tenants/{TENANT}/users"
ENDLESS = "/v1/replication"
"""Its answer is a stream that lasts as long as both sides do."""
SOUNDS = {"application/octet-stream", "audio/mpeg"}


@pytest.fixture(params=["sqlite", "postgresql"])
async def agent(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    with loopback_network() as network:
        if request.param == "sqlite":
            async with lab(network, kamailio=False) as found:
                yield found
            return
        with postgresql_server() as url:
            async with lab(network, kamailio=False, database_url=url) as found:
                yield found


async def extensions(agent: Lab) -> list[str]:
    return [one["extension"] for one in await agent.get(USERS)]


async def test_users_of_the_spec(agent: Lab) -> None:
    some = tuple(user(str(number)) for number in range(2001, 2004))
    replace: Source = "spec"
    answer = await agent.put_users(*some, replace=replace, digest=digest(encode(some)))
    assert (answer.status_code, answer.json()["written"]) == (200, 3)
    assert await agent.get("/v1/tenants") == [
        {"name": TENANT, "users": 3, "digest": digest(encode(some))}
    ]
    # A body that was cut off is known by its digest.
    cut = await agent.put_users(*some[:2], replace=replace, digest=digest(encode(some)))
    assert cut.status_code == 400
    assert "cut off" in cut.json()["error"]
    wrong = await agent.http.put(
        USERS, content=b'{"tenant":"acme","extension":"2009"}\n{"password":"geheim"}\n'
    )
    assert wrong.status_code == 400
    assert wrong.json()["problems"][0].startswith("line 2: ")
    assert "geheim" not in wrong.text
    assert wrong.json()["error"].endswith("nothing was changed")
    assert await extensions(agent) == ["2001", "2002", "2003"]
    # They are changed in the spec alone, whatever is sent.
    one = f"{USERS}/2001"
    for refused in (
        await agent.http.put(one, json={"name": "New"}),
        await agent.http.patch(one, json={"enabled": False}),
        await agent.http.delete(one),
        await agent.put_users(user("9000"), some[0]),
        await agent.put_users(some[0], replace="api"),
    ):
        assert refused.status_code == 409
        assert refused.json()["error"].startswith("acme 2001 belongs to the spec: change it there")
    assert await extensions(agent) == ["2001", "2002", "2003"]
    fewer = await agent.put_users(*some[1:], replace=replace)
    assert fewer.json() == {"written": 0, "unchanged": 2, "removed": 1}


async def test_one_user(agent: Lab) -> None:
    path = f"{USERS}/2001"
    assert (await agent.http.get(path)).status_code == 404
    body: dict[str, Any] = {"name": "Jörg", "ha1_md5": "0" * 32, "permission": "national"}
    written = await agent.http.put(path, json=body)
    assert (written.status_code, written.json()["can_register"]) == (200, True)
    assert "ha1" not in written.text
    assert (await agent.get(path)) == written.json()
    assert (await agent.get(path))["source"] == "api"
    forward = {"busy": {"kind": "extension", "target": "2002"}}
    changed = await agent.http.patch(path, json={"forward": forward, "max_calls": 2})
    assert changed.json()["forward"]["busy"]["target"] == "2002"
    assert (changed.json()["name"], changed.json()["max_calls"]) == ("Jörg", 2)
    for method, bad in (
        ("PUT", {"password": "geheim"}),
        ("PUT", {"ha1_md5": "geheim"}),
        ("PUT", {"extension": "2002"}),
        ("PATCH", {"permission": "everything"}),
        ("PATCH", {"name": None}),
        ("PATCH", {"max_calls": -1}),
    ):
        answer = await agent.http.request(method, path, json=bad)
        assert answer.status_code == 422, bad
        assert "geheim" not in answer.text
        assert answer.json()["error"]
    assert (await agent.http.delete(path)).status_code == 204
    assert (await agent.http.delete(path)).status_code == 404
    assert (await agent.http.patch(path, json={})).status_code == 404


async def test_pages_recordings_events_and_secrets(agent: Lab) -> None:
    await agent.put_users(*(user(str(number)) for number in range(2001, 2008)))
    pages: list[str] = []
    while page := await agent.get(USERS, limit=3, after=pages[-1] if pages else ""):
        pages += [one["extension"] for one in page]
    assert pages == [str(number) for number in range(2001, 2008)]
    assert (await agent.http.get(USERS, params={"limit": 0})).status_code == 422
    entry = {"id": "r1", "call": "c", "server": "m", "path": "/x.wav", "started": 1.0}
    for _ in range(2):
        assert (await agent.http.post("/v1/recordings", json=entry)).status_code == 201
    assert [one["id"] for one in await agent.get("/v1/recordings", call="c")] == ["r1"]
    assert (await agent.http.delete("/v1/recordings/r1")).status_code == 204
    assert await agent.get("/v1/events") == []
    secret = await agent.http.put("/v1/secrets/smtp/password", json={"value": "geheim"})
    assert await agent.get("/v1/secrets") == [secret.json()]
    assert "geheim" not in secret.text
    assert len(secret.json()["fingerprint"]) == 16
    assert (await agent.http.delete("/v1/secrets/smtp/password")).status_code == 204


async def test_openapi_describes_every_path(agent: Lab) -> None:
    described = await agent.get("/openapi.json")
    documented = set(
        re.findall(r"`([A-Z, ]+ /(?:v1/|health|metrics|drain)[^`]*)`", ARCHITECTURE.read_text())
    )
    assert len(documented) > 15
    for row in documented:
        methods, _, path = row.rpartition(" ")
        shape = _shape(path.partition("?")[0])
        found = [one for one in described["paths"] if _shape(one) == shape]
        assert found, row
        for method in methods.split(", "):
            assert method.lower() in described["paths"][found[0]], row


async def test_openapi_says_what_is_answered(agent: Lab) -> None:
    described = await agent.get("/openapi.json")
    for path, method, operation in _operations(described):
        where = f"{method} {path}"
        assert operation["tags"], where
        codes = operation["responses"]
        (good,) = [code for code in codes if code.startswith("2")]
        content = codes[good].get("content", {})
        if path == "/metrics":
            continue
        if good == "204":
            assert not content, where
        elif path == ENDLESS:
            assert content["application/x-ndjson"]["schema"], where
        elif content.keys() & SOUNDS:
            (kind,) = content
            assert content[kind]["schema"]["format"] == "binary", where
        else:
            assert content["application/json"]["schema"], where
            assert content["application/json"]["schema"] != {}, where
        # Whatever goes wrong has a body of which the shape is said.
        for code, answer in codes.items():
            if code[0] in "45":
                assert answer["content"]["application/json"]["schema"]["$ref"], f"{where} {code}"
        if path not in PUBLIC:
            assert "401" in codes, where
            assert operation["security"], where
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), where


async def test_every_path_needs_the_token(agent: Lab) -> None:
    described = await agent.get("/openapi.json")
    right = agent.http.headers.pop("Authorization")
    assert {path for path, *_ in _operations(described)} >= PUBLIC
    for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        for path, method, _ in _operations(described):
            concrete = re.sub(r"{\w+}", "1", path)
            answer = await agent.http.request(method, concrete, headers=given)
            wanted = (200, 503) if path in PUBLIC else (401,)
            assert answer.status_code in wanted, f"{method} {path}"
            if 401 in wanted:
                assert answer.json()["error"]
                assert answer.headers["www-authenticate"] == "Bearer"
    assert (await agent.http.get("/openapi.json")).status_code == 401
    assert (await agent.http.get("/nowhere")).status_code == 401
    agent.http.headers["Authorization"] = right


async def test_bad_requests_are_answered_as_described(agent: Lab) -> None:
    described = await agent.get("/openapi.json")
    nonsense: tuple[dict[str, Any], ...] = (
        {"content": b"\xff{"},
        {"content": b"[]", "headers": {"Content-Type": "application/json"}},
        {"params": {"limit": "-1", "after": "\x00", "digest": "x", "replace": "x", "reason": "!"}},
    )
    for path, method, operation in _operations(described):
        if path in ("/drain", ENDLESS):
            continue
        for odd in nonsense:
            concrete = re.sub(r"{\w+}", "%00%ff", path)
            # Who answers before the body has come closes the connection: it serves once.
            once = {"Connection": "close"} | odd.get("headers", {})
            answer = await agent.http.request(method, concrete, **odd | {"headers": once})
            where = f"{method} {path} {odd}: {answer.status_code} {answer.text}"
            # 503: there is no Kamailio here.
            assert answer.status_code in {*map(int, operation["responses"]), 503}, where
            assert answer.status_code != 500, where
            if answer.status_code >= 400 and path not in PUBLIC:
                assert answer.json()["error"], where


def _operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method.upper(), operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
    ]


def _shape(path: str) -> str:
    return re.sub(r"{[^}]+}", "{}", path)


async def test_without_kamailio_the_api_says_so(agent: Lab) -> None:
    for path in ("/v1/registrations", "/v1/bans"):
        answer = await agent.http.get(path)
        assert (answer.status_code, answer.json()["error"]) == (503, "Kamailio does not run")


async def test_a_database_that_goes_and_comes() -> None:
    with loopback_network() as network, postgresql_server() as url:
        async with lab(network, kamailio=False, database_url=url) as agent:
            await agent.put_users(user("2001"))
            await trio.to_thread.run_sync(_refuse, url, True)

            async def away() -> bool:
                return any("database" in text for text in (await agent.health())["problems"])

            await agent.until(away, "health tells", within=20)
            answer = await agent.http.get(USERS)
            assert answer.status_code == 503
            assert answer.json()["error"].startswith("database: ")
            assert answer.headers["retry-after"]
            await trio.to_thread.run_sync(_refuse, url, False)

            async def back() -> bool:
                return not await away()

            await agent.until(back, "health tells no more", within=20)
            assert await extensions(agent) == ["2001"]


def _refuse(url: str, away: bool) -> None:
    """Make the server refuse the agent's database, and cut its connections; or take it back."""
    template = make_url(url).set(drivername="postgresql", database="template1")
    with psycopg.connect(
        template.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        allowed = "false" if away else "true"
        connection.execute(f"ALTER DATABASE postgres ALLOW_CONNECTIONS {allowed}".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'"
        )
