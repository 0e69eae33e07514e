"""The registry as the operator's side sees it: services with their checks, and documents.

py-consul blocks, so every call runs in a worker thread; calls are short and have short timeouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import consul  # pyright: ignore[reportMissingTypeStubs]  it has none
import msgspec
import requests
import trio
from consul.callback import CB  # pyright: ignore[reportMissingTypeStubs]

from pbxctl.engines.engine import Endpoints
from services.core import configuration
from services.core.configuration import Manifest, Switch
from services.core.vip import holder_of

TIMEOUT = 10.0
"""Seconds for one request; the registry is on this machine or one hop away."""

T = TypeVar("T")
CONFIG = "config/"
MANIFEST = "manifest"


class RegistryError(Exception):
    """The registry cannot be reached or refused; the message is for the operator."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One role on one server, as it registered itself.

    ``status`` is the worst of its checks' (``passing``, ``warning``, ``critical``); ``check`` is
    what its own check found, for people. ``admin`` is the base URL of its HTTP side.
    ``address`` and ``port`` are as registered. ``node`` is Consul's name of its host.
    """

    id: str
    role: str
    server: str
    release: str
    status: str
    check: str
    admin: str
    capacity: int
    meta: dict[str, str]
    address: str = ""
    port: int = 0
    node: str = ""
    tags: tuple[str, ...] = ()


SEVERITY = ("passing", "warning", "critical")


def documents_of(values: Mapping[str, bytes]) -> tuple[Manifest | None, dict[str, bytes]]:
    """The manifest, if it can be read, and the other documents of ``config/``."""
    documents = dict(values)
    raw = documents.pop(MANIFEST, None)
    if raw is None:
        return None, documents
    try:
        return configuration.decode(raw, Manifest), documents
    except msgspec.DecodeError:
        # Written by hand or by another release: apply writes it anew.
        return None, documents


def switches_of(values: Mapping[str, bytes]) -> dict[tuple[str, str], Switch]:
    """Switches by (server, role) from what is below ``switches/``; unreadable ones left out."""
    found: dict[tuple[str, str], Switch] = {}
    for key, value in values.items():
        server, _, role = key.partition("/")
        try:
            found[server, role] = configuration.decode(value, Switch)
        except msgspec.DecodeError:
            continue
    return found


class RegistryClient:
    """Speaks to the registry at ``url`` about one cluster. All raise `RegistryError`.

    ``stale``: whatever server of the registry's is asked answers with what it has, be it a moment
    old, or the last there was where the registry has no leader.
    """

    def __init__(
        self,
        url: str,
        cluster: str,
        *,
        token: str = "",
        ca: str = "",
        cert: tuple[str, str] | None = None,
        stale: bool = False,
    ) -> None:
        self.url = url
        self.cluster = cluster
        self.prefix = configuration.prefix(cluster)
        parts = urlsplit(url)
        client: Any = consul.Consul(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 8500,
            scheme=parts.scheme or "http",
            connections_timeout=TIMEOUT,
            verify=ca or True,
            cert=cert,
            consistency="stale" if stale else "default",
        )
        self._stale = [("stale", "1")] if stale else []
        # The library would take CONSUL_HTTP_TOKEN, wherever the request goes.
        client.token = token or None
        # A proxy set for the shell has no business between this program and the cluster.
        client.http.session.trust_env = False
        self._consul = client

    @classmethod
    def of(cls, endpoints: Endpoints, cluster: str, *, stale: bool = False) -> RegistryClient:
        """The registry that an engine says its jobs use."""
        return cls(
            endpoints.registry,
            cluster,
            token=endpoints.registry_token,
            ca=endpoints.registry_ca,
            cert=endpoints.registry_cert,
            stale=stale,
        )

    async def ready(self) -> None:
        """Returns if it can be written: Consul has a leader."""
        if not await self.has_leader():
            raise RegistryError(f"the registry at {self.url} has no leader")

    async def has_leader(self) -> bool:
        """Whether it can be written."""
        return bool(await self._call(lambda: self._consul.status.leader()))

    async def roles(self) -> list[str]:
        """The roles of which the cluster has registered servers."""
        named = await self._call(lambda: self._consul.catalog.services()[1])
        found = cast("dict[str, list[str]]", named or {})
        return sorted(name for name, tags in found.items() if self.cluster in tags)

    async def remove_everything(self) -> None:
        """Removes all of the cluster's keys."""
        await self._call(lambda: self._consul.kv.delete(self.prefix, recurse=True))

    async def services(self, roles: Iterable[str]) -> tuple[Service, ...]:
        """The cluster's services of these roles, by role and server."""
        found: list[Service] = []
        for role in roles:
            found += [_service(role, entry) for entry in await self._entries(role)]
        return tuple(sorted(found, key=lambda each: (each.role, each.server)))

    async def documents(self) -> tuple[Manifest | None, dict[str, bytes]]:
        """The manifest (None if there is none or it cannot be read) and every other document.

        Keys are relative to ``config/``.
        """
        return documents_of(await self._values(self.prefix + CONFIG))

    async def switches(self) -> dict[tuple[str, str], Switch]:
        """The administrator's switches by (server, role), those left out that cannot be read."""
        return switches_of(await self._values(self.prefix + "switches/"))

    async def holder(self, name: str) -> str:
        """The server that holds a floating name (``vip``, ``media/…``) now; empty if none does."""
        key = f"{self.prefix}floating/{name}"
        row: Any = await self._call(lambda: self._consul.kv.get(key)[1])
        if not row or not row.get("Session"):
            return ""
        return holder_of(row["Value"] or b"")

    async def floating(self) -> dict[str, str]:
        """Who holds what: server by floating name; a name that nobody holds is left out."""
        root = f"{self.prefix}floating/"
        rows: Any = await self._call(lambda: self._consul.kv.get(root, recurse=True)[1])
        return {
            str(row["Key"]).removeprefix(root): holder_of(row["Value"] or b"")
            for row in rows or ()
            if row.get("Session")
        }

    async def switch(self, server: str, role: str, switch: Switch | None) -> None:
        """Writes a switch of one role of a server, or removes it, which is: enabled."""
        name = f"{self.prefix}switches/{server}/{role}"
        if switch is None:
            await self._call(lambda: self._consul.kv.delete(name))
        else:
            await self._call(lambda: self._consul.kv.put(name, configuration.encode(switch)))

    async def forget(self, service: Service) -> None:
        """Removes a service that its role could not remove itself; nothing if it is not there.

        One agent has it: the only one, or that of a host which this client does not speak to.
        """
        if service.node in ("", await self._node()):
            await self._call(lambda: self._consul.agent.service.deregister(service.id))
        else:
            await self._call(
                lambda: self._consul.catalog.deregister(service.node, service_id=service.id)
            )

    async def _node(self) -> str:
        """The name of the node whose agent this client speaks to."""
        return str(await self._call(lambda: self._consul.agent.self()["Config"]["NodeName"]))

    async def write(self, key: str, value: bytes) -> None:
        """Writes one document; ``key`` is relative to ``config/``."""
        name = self.prefix + CONFIG + key
        done = await self._call(lambda: self._consul.kv.put(name, value))
        if done is not True:
            raise RegistryError(f"the registry at {self.url} did not write {name}")

    async def delete(self, key: str) -> None:
        """Removes one document; nothing if it is not there."""
        name = self.prefix + CONFIG + key
        await self._call(lambda: self._consul.kv.delete(name))

    async def _entries(self, role: str) -> list[dict[str, Any]]:
        """As `/v1/health/service` has it; the library has no consistency modes for that."""
        path = f"/v1/health/service/{role}"
        query = [("tag", self.cluster), *self._stale]

        answer: Any = CB

        def ask() -> Any:
            headers = self._consul.prepare_headers(None)
            return self._consul.http.get(answer.json(), path, params=query, headers=headers)

        return cast("list[dict[str, Any]]", await self._call(ask) or [])

    async def _values(self, prefix: str) -> dict[str, bytes]:
        rows = await self._call(lambda: self._consul.kv.get(prefix, recurse=True)[1])
        found: dict[str, bytes] = {}
        for row in cast("list[dict[str, Any]]", rows or []):
            found[str(row["Key"]).removeprefix(prefix)] = row["Value"] or b""
        return found

    async def _call(self, request: Callable[[], Any]) -> Any:
        try:
            # Abandoned on cancel: the thread ends by itself within TIMEOUT.
            return await trio.to_thread.run_sync(request, abandon_on_cancel=True)
        except requests.Timeout:
            raise RegistryError(
                f"the registry at {self.url} did not answer within {TIMEOUT:g} s"
            ) from None
        except requests.RequestException:
            raise RegistryError(f"the registry at {self.url} cannot be reached") from None
        except consul.ConsulException as error:
            raise RegistryError(f"the registry at {self.url} refused: {error}") from None

    def close(self) -> None:
        """Closes its connections."""
        self._consul.http.session.close()

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _service(role: str, entry: dict[str, Any]) -> Service:
    service: dict[str, Any] = entry["Service"]
    node: dict[str, Any] = entry.get("Node") or {}
    checks: list[dict[str, Any]] = entry.get("Checks") or []
    meta: dict[str, str] = service.get("Meta") or {}
    status = max(
        (str(check["Status"]) for check in checks),
        key=lambda each: SEVERITY.index(each) if each in SEVERITY else len(SEVERITY),
        default="critical",
    )
    # Its own check tells more than the node's, which is all there is while it is young.
    own = [check for check in checks if check.get("ServiceID")] or checks
    return Service(
        id=str(service["ID"]),
        role=role,
        server=meta.get("server", ""),
        release=meta.get("release", ""),
        status=status,
        check=str(own[0].get("Output") or "") if own else "",
        admin=meta.get("admin", "").rstrip("/"),
        capacity=int(meta["capacity"]) if meta.get("capacity", "").isdigit() else 0,
        meta=meta,
        address=str(service.get("Address") or ""),
        port=int(service.get("Port") or 0),
        node=str(node.get("Node") or ""),
        tags=tuple(str(tag) for tag in service.get("Tags") or ()),
    )
