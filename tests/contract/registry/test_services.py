"""Services, their health, and checks that really run."""

from __future__ import annotations

from functools import partial

import httpx
import pytest
import trio

from services.core.discovery import Check, Instance, Registry, RegistryRefusedError, Service
from tests.support.hosts import loopback_network
from tests.support.waiting import eventually

MEDIA = Service(
    id="acme-media-media1",
    name="media",
    address="127.0.0.9",
    port=2223,
    tags=("acme", "release-1.0.0"),
    meta={"cluster": "acme", "server": "media1", "capacity": "2500"},
    checks=(Check(ttl=60, deregister_after=60),),
)


async def test_what_is_registered_is_found(http: httpx.AsyncClient, registry: Registry) -> None:
    await registry.register(MEDIA)
    await registry.report(MEDIA.id, "passing", "RTP echo 0.3 ms")
    agent = (await http.get("agent/services")).json()[MEDIA.id]
    assert (agent["Service"], agent["Port"], agent["Meta"]) == ("media", 2223, MEDIA.meta)
    passing = {"passing": ""}
    await eventually(lambda: http.get("health/service/media", params=passing), lambda a: a.json())
    answer = await http.get("health/service/media", params={"passing": "", "stale": ""})
    assert int(answer.headers["X-Consul-Index"]) >= 1
    (found,) = answer.json()
    assert found["Node"]["Node"] == "local"
    service = found["Service"]
    assert service["ID"] == MEDIA.id
    assert (service["Service"], service["Address"], service["Port"]) == ("media", "127.0.0.9", 2223)
    assert service["Tags"] == list(MEDIA.tags)
    checks = {check["CheckID"]: check for check in found["Checks"]}
    assert set(checks) == {"serfHealth", f"service:{MEDIA.id}"}
    check = checks[f"service:{MEDIA.id}"]
    assert (check["Status"], check["Output"]) == ("passing", "RTP echo 0.3 ms")
    assert (check["ServiceID"], check["ServiceName"]) == (MEDIA.id, "media")
    assert check["Name"] == "Service 'media' check"
    (row,) = (await http.get("catalog/service/media")).json()
    assert (row["ServiceID"], row["ServiceAddress"]) == (MEDIA.id, "127.0.0.9")
    assert (row["ServicePort"], row["ServiceMeta"]) == (2223, MEDIA.meta)
    assert sorted((await http.get("catalog/services")).json()["media"]) == sorted(MEDIA.tags)
    (by_service,) = (await http.get("health/checks/media")).json()
    assert by_service["CheckID"] == f"service:{MEDIA.id}"
    on_node = {check["CheckID"] for check in (await http.get("health/node/local")).json()}
    assert on_node == {"serfHealth", f"service:{MEDIA.id}"}
    assert f"service:{MEDIA.id}" in (await http.get("agent/checks")).json()


async def test_the_clients_health_watch(registry: Registry) -> None:
    watch = registry.watch_health("media")
    with trio.fail_after(30):
        assert await anext(watch) == ()
        await registry.register(MEDIA)
        (instance,) = await anext(watch)
        while not instance.checks[1:]:  # the service comes before its check
            (instance,) = await anext(watch)
        assert instance.status == "critical"
        await registry.report(MEDIA.id, "passing", "RTP echo 0.3 ms")
        while instance.status != "passing":
            (instance,) = await anext(watch)
        assert instance.meta == MEDIA.meta
        assert instance.address == "127.0.0.9"
        await registry.report(MEDIA.id, "warning", "slow")
        while instance.status != "warning":
            (instance,) = await anext(watch)
        await registry.deregister(MEDIA.id)
        while await anext(watch):
            pass
    assert await registry.health("media") == ()


async def test_registering_again_keeps_the_status(registry: Registry) -> None:
    await registry.register(MEDIA)
    await registry.report(MEDIA.id, "passing", "well")
    await registry.register(MEDIA)
    await eventually(lambda: registry.health("media"), lambda found: found[0].passing)


async def test_silence_makes_a_ttl_check_critical(registry: Registry) -> None:
    service = Service(id="s", name="s", checks=(Check(ttl=1, status="passing"),))
    await registry.register(service)
    await eventually(lambda: registry.health("s"), lambda found: found and found[0].passing)
    (instance,) = await eventually(
        lambda: registry.health("s"), lambda found: found[0].status == "critical"
    )
    assert instance.output.startswith("TTL expired")


async def test_pass_warn_fail(http: httpx.AsyncClient, registry: Registry) -> None:
    await registry.register(Service(id="s", name="s", checks=(Check(ttl=60),)))
    for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        answer = await http.put(f"agent/check/{verb}/service:s", params={"note": verb})
        assert answer.status_code == 200
        check = (await http.get("agent/checks")).json()["service:s"]
        assert (check["Status"], check["Output"]) == (status, verb)


async def test_unknown_ids(http: httpx.AsyncClient, registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="nknown check"):
        await registry.report("nobody", "passing")
    await registry.deregister("nobody")
    answer = await http.put("agent/check/update/service:none", json={"Status": "passing"})
    assert answer.status_code == 404


async def test_bad_registrations_are_refused(http: httpx.AsyncClient) -> None:
    for body in (
        {},
        {"Name": "s", "Check": {"HTTP": "http://127.0.0.1:1/"}},
        {"Name": "s", "Check": {"Status": "passing"}},
        {"Name": "s", "Port": "many"},
    ):
        assert (await http.put("agent/service/register", json=body)).status_code == 400
    assert (await http.put("agent/service/register", content=b"{")).status_code == 400
    bad = {"Name": "c", "ServiceID": "none", "TTL": "10s"}
    assert (await http.put("agent/check/register", json=bad)).status_code == 404


async def test_a_check_may_be_added_and_removed(
    http: httpx.AsyncClient, registry: Registry
) -> None:
    await registry.register(Service(id="s", name="s"))
    body = {"ID": "extra", "Name": "extra", "ServiceID": "s", "TTL": "60s", "Status": "passing"}
    assert (await http.put("agent/check/register", json=body)).status_code == 200
    assert (await http.get("agent/checks")).json()["extra"]["ServiceID"] == "s"
    assert (await http.put("agent/check/deregister/extra")).status_code == 200
    assert "extra" not in (await http.get("agent/checks")).json()


async def _answer(status: list[int], stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some()
        head = f"HTTP/1.1 {status[0]} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        await stream.send_all(head.encode())


async def test_http_and_tcp_checks_run(registry: Registry) -> None:
    status = [200]
    with loopback_network() as network:
        host = f"{network}.7"
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, partial(_answer, status), 8080, host=host)
            listening = trio.CancelScope()

            async def listen(*, task_status: trio.TaskStatus[object]) -> None:
                with listening:
                    await serve(task_status=task_status)

            await nursery.start(listen)
            checks = (
                Check(http=f"http://{host}:8080/health", interval=0.3, timeout=1),
                Check(tcp=f"{host}:8080", interval=0.3, timeout=1),
            )
            await registry.register(Service(id="s", name="s", checks=checks))
            for code, expected in ((200, "passing"), (429, "warning"), (500, "critical")):
                status[0] = code
                await _until(registry, expected, "passing")
            listening.cancel()
            await _until(registry, "critical", "critical")


async def _until(registry: Registry, http_status: str, tcp_status: str) -> None:
    def wish(found: tuple[Instance, ...]) -> bool:
        status = {check.id: check.status for one in found for check in one.checks}
        return (status.get("service:s:1"), status.get("service:s:2")) == (http_status, tcp_status)

    await eventually(lambda: registry.health("s"), wish)


async def test_the_rest(http: httpx.AsyncClient, registry: Registry) -> None:
    assert await registry.leader() != ""
    agent = (await http.get("agent/self")).json()
    assert agent["Config"]["NodeName"] == "local"
    assert agent["Config"]["Datacenter"] == "dc1"
    assert (await http.get("nothing/here")).status_code == 404
    assert (await http.post("session/create")).status_code == 405
    assert [node["Node"] for node in (await http.get("catalog/nodes")).json()] == ["local"]
