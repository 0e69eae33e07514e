"""The registry, as services use it: Consul's HTTP API, or the embedded registry that speaks it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec

from services.core.discovery import wire
from services.core.discovery.errors import RegistryError, RegistryRefusedError
from services.core.discovery.model import (
    Entry,
    Instance,
    Operation,
    RaftServer,
    Service,
    Session,
    SessionInfo,
    Status,
)
from services.core.discovery.transport import Params, Transport
from services.core.discovery.watch import Watch

T = TypeVar("T")


class Registry:
    """A client of one registry. ``url`` is its base, as in ``http://127.0.0.1:8500``.

    ``token`` opens it; empty for the embedded one, which asks for none.

    All but the watches raise RegistryError within `transport.PATIENCE` seconds. Writes are tried
    again until then; what they do when done twice is said where it is not the same as once.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._transport = Transport(url, token)
        self._registered: dict[str, Service] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; what is registered stays registered."""
        await self._transport.aclose()

    async def register(self, service: Service) -> None:
        """Register, or replace what has this id; checks that stay keep their status."""
        await self._transport.ask(
            "PUT",
            "agent/service/register",
            params={"replace-existing-checks": "true"},
            content=wire.service_body(service),
        )
        self._registered[service.id] = service

    async def deregister(self, service_id: str) -> None:
        """Remove a service and its checks; nothing if it is not there."""
        self._registered.pop(service_id, None)
        await self._transport.ask(
            "PUT", f"agent/service/deregister/{_quote(service_id)}", allow=(200, 404)
        )

    async def report(
        self, service_id: str, status: Status, output: str = "", *, check: str = ""
    ) -> None:
        """Feed the TTL check of a service that this object registered.

        ``check`` is the check's id, needed where the service has several (``service:<id>:1`` on).
        A registry that has forgotten the service is told of it again.
        """
        path = f"agent/check/update/{_quote(check or f'service:{service_id}')}"
        content = msgspec.json.encode({"Status": status, "Output": output})
        try:
            await self._transport.ask("PUT", path, content=content)
        except RegistryRefusedError as refusal:
            service = self._registered.get(service_id)
            if service is None or "nknown check" not in refusal.reason:
                raise
            await self.register(service)
            await self._transport.ask("PUT", path, content=content)

    async def health(self, service: str) -> tuple[Instance, ...]:
        """Every instance of a service now, whatever its health, by node and id."""
        answer, _ = await self._transport.ask(
            "GET", f"health/service/{_quote(service)}", params={"stale": ""}
        )
        return _read(wire.instances, answer.content)

    def watch_health(self, service: str) -> Watch[tuple[Instance, ...]]:
        """Every picture of `health`: at once, at each change, and when the registry is back.

        While the registry is away nothing is yielded: the last picture is the best there is.
        """
        path = f"health/service/{_quote(service)}"
        return Watch(self._transport, path, {"stale": ""}, wire.instances, ())

    async def get(self, key: str) -> Entry | None:
        """The entry, or None."""
        answer, _ = await self._transport.ask("GET", f"kv/{_quote(key)}", allow=(200, 404))
        return None if answer.status_code == 404 else _read(wire.entries, answer.content)[0]

    async def list(self, prefix: str) -> dict[str, Entry]:
        """Every entry whose key starts with ``prefix``, by key."""
        answer, _ = await self._transport.ask(
            "GET", f"kv/{_quote(prefix)}", params={"recurse": ""}, allow=(200, 404)
        )
        if answer.status_code == 404:
            return {}
        return {entry.key: entry for entry in _read(wire.entries, answer.content)}

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        cas: int | None = None,
        acquire: str = "",
        release: str = "",
        flags: int = 0,
    ) -> bool:
        """Write; False if the condition did not hold.

        ``cas``: only if the entry's ``modify_index`` is this, 0: only if there is none.
        ``acquire``, ``release``: take or give back the lock for this session's id.
        """
        params: Params = {"flags": flags} if flags else {}
        if cas is not None:
            params["cas"] = cas
        if acquire:
            params["acquire"] = acquire
        if release:
            params["release"] = release
        answer, unseen = await self._transport.ask(
            "PUT", f"kv/{_quote(key)}", params=params, content=value
        )
        if answer.text.strip() == "true":
            return True
        if not unseen:
            return False
        # The condition may be false only because an attempt whose answer was lost met it.
        entry = await self.get(key)
        if entry is None or entry.value != value:
            return False
        if acquire:
            return entry.session == acquire
        if release:
            return entry.session != release
        return cas is not None and entry.modify_index > cas

    async def delete(self, key: str, *, cas: int | None = None, recurse: bool = False) -> bool:
        """Delete a key, or with ``recurse`` all that start with it; False if ``cas`` differs."""
        params: Params = {} if cas is None else {"cas": cas}
        if recurse:
            params["recurse"] = ""
        answer, _ = await self._transport.ask("DELETE", f"kv/{_quote(key)}", params=params)
        return answer.text.strip() == "true"

    def watch(self, prefix: str) -> Watch[dict[str, bytes]]:
        """Every picture of what is below ``prefix``, by full key.

        At once, at each change, and when the registry is back; nothing while it is away. A
        picture may be a little old: a watch is answered by any server, without its leader.
        """
        params: Params = {"recurse": "", "stale": ""}
        return Watch(self._transport, f"kv/{_quote(prefix)}", params, _values, {})

    def watch_entries(self, prefix: str) -> Watch[dict[str, Entry]]:
        """As `watch`, with indexes and locks."""
        params: Params = {"recurse": "", "stale": ""}
        return Watch(self._transport, f"kv/{_quote(prefix)}", params, _entries, {})

    async def read(self, prefix: str) -> tuple[dict[str, Entry], int]:
        """`list` as the leader has it after asking a quorum, and the registry's index then."""
        answer, _ = await self._transport.ask(
            "GET",
            f"kv/{_quote(prefix)}",
            params={"recurse": "", "consistent": ""},
            allow=(200, 404),
            once=True,
        )
        found = {} if answer.status_code == 404 else _read(_entries, answer.content)
        return found, int(answer.headers.get("X-Consul-Index", "0"))

    async def transact(self, *operations: Operation) -> list[Entry] | None:
        """All of them or none, in one write; what was written, or None where a check failed.

        Tried once. Raises RegistryUnreachableError where it may have been carried out or not, and
        RegistryRefusedError where it was not.
        """
        answer, _ = await self._transport.ask(
            "PUT", "txn", content=wire.transaction_body(operations), allow=(200, 409), once=True
        )
        return None if answer.status_code == 409 else _read(wire.transacted, answer.content)

    def watch_services(self) -> Watch[dict[str, list[str]]]:
        """Every picture of the names of services, with all tags of each."""
        return Watch(self._transport, "catalog/services", {"stale": ""}, _services, {})

    async def create_session(self, session: Session, *, once: bool = False) -> str:
        """A new session's id. Done twice, the first one's id is lost and nothing holds by it.

        ``once``: try once only.
        """
        answer, _ = await self._transport.ask(
            "PUT", "session/create", content=wire.session_body(session), once=once
        )
        return _read(_session_id, answer.content)

    async def renew_session(self, session_id: str) -> bool:
        """Start its TTL anew; False if it has ended."""
        answer, _ = await self._transport.ask(
            "PUT", f"session/renew/{_quote(session_id)}", allow=(200, 404)
        )
        return answer.status_code == 200

    async def destroy_session(self, session_id: str) -> None:
        """End a session and what it holds."""
        await self._transport.ask("PUT", f"session/destroy/{_quote(session_id)}")

    async def session(self, session_id: str, *, stale: bool = False) -> SessionInfo | None:
        """The session as the leader has it, or with ``stale`` any server; None if it has ended."""
        answer, _ = await self._transport.ask(
            "GET",
            f"session/info/{_quote(session_id)}",
            params={"stale" if stale else "consistent": ""},
            once=True,
        )
        found = _read(_sessions, answer.content)
        return found[0] if found else None

    async def sessions(self) -> list[SessionInfo]:
        """Every session of the registry."""
        answer, _ = await self._transport.ask("GET", "session/list", params={"consistent": ""})
        return _read(_sessions, answer.content)

    async def raft(self) -> list[RaftServer]:
        """The registry's servers, as any of them knows them."""
        answer, _ = await self._transport.ask(
            "GET", "operator/raft/configuration", params={"stale": ""}, once=True
        )
        return _read(_raft, answer.content)

    async def transfer_leadership(self, server_id: str) -> None:
        """Make another server of the registry's its leader."""
        await self._transport.ask(
            "POST", "operator/raft/transfer-leader", params={"id": server_id}, once=True
        )

    async def leader(self) -> str:
        """Address of the registry's leader; empty if there is none."""
        answer, _ = await self._transport.ask("GET", "status/leader")
        return answer.text.strip().strip('"')


def _quote(text: str) -> str:
    return quote(text, safe="/")


def _values(body: bytes) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in wire.entries(body)}


def _entries(body: bytes) -> dict[str, Entry]:
    return {entry.key: entry for entry in wire.entries(body)}


def _services(body: bytes) -> dict[str, list[str]]:
    return msgspec.json.decode(body, type=dict[str, list[str]])


def _sessions(body: bytes) -> list[SessionInfo]:
    return msgspec.json.decode(body, type=list[SessionInfo] | None) or []


class _Raft(msgspec.Struct):
    servers: list[RaftServer] = msgspec.field(name="Servers", default_factory=list[RaftServer])


def _raft(body: bytes) -> list[RaftServer]:
    return msgspec.json.decode(body, type=_Raft).servers


class _Created(msgspec.Struct):
    id: str = msgspec.field(name="ID")


def _session_id(body: bytes) -> str:
    return msgspec.json.decode(body, type=_Created).id


def _read(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except ValueError as error:
        raise RegistryError(f"registry: unreadable answer: {error}") from None
