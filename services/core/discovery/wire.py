"""Consul's JSON to and from this package's types. Source: Consul's HTTP API documentation."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from services.core.discovery.model import (
    Check,
    CheckResult,
    Entry,
    Instance,
    Operation,
    Service,
    Session,
    Status,
)


def duration(seconds: float) -> str:
    """Seconds as a Go duration; whole microseconds, as 1 ms is the least that is used."""
    return f"{round(seconds * 1_000_000)}us"


def service_body(service: Service) -> bytes:
    """The body of ``/v1/agent/service/register``."""
    return msgspec.json.encode(
        {
            "ID": service.id,
            "Name": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": service.tags,
            "Meta": service.meta,
            "Checks": [_check(check) for check in service.checks],
        }
    )


def _check(check: Check) -> dict[str, Any]:
    if sum(map(bool, (check.ttl, check.http, check.tcp))) != 1:
        raise ValueError("a check has exactly one of ttl, http and tcp")
    body: dict[str, Any] = {"Status": check.status}
    if check.name:
        body["Name"] = check.name
    if check.http:
        body["HTTP"] = check.http
    if check.tcp:
        body["TCP"] = check.tcp
    for key, seconds in (
        ("TTL", check.ttl),
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("DeregisterCriticalServiceAfter", check.deregister_after),
    ):
        if seconds:
            body[key] = duration(seconds)
    return body


def session_body(session: Session) -> bytes:
    """The body of ``/v1/session/create``."""
    body: dict[str, Any] = {
        "Name": session.name,
        "LockDelay": duration(session.lock_delay),
        "Behavior": session.behavior,
        "NodeChecks": session.node_checks,
        "ServiceChecks": [{"ID": check} for check in session.service_checks],
    }
    if session.ttl:
        body["TTL"] = duration(session.ttl)
    return msgspec.json.encode(body)


def transaction_body(operations: Iterable[Operation]) -> bytes:
    """The body of ``/v1/txn``."""
    return msgspec.json.encode([{"KV": _operation(one)} for one in operations])


def _operation(one: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {"Verb": one.verb, "Key": one.key}
    if one.verb in ("cas", "lock", "unlock"):
        body["Value"] = base64.b64encode(one.value).decode()
    if one.verb in ("check-index", "cas"):
        body["Index"] = one.index
    if one.session:
        body["Session"] = one.session
    return body


class _Entry(msgspec.Struct, rename="pascal"):
    key: str
    value: str | None = None
    flags: int = 0
    create_index: int = 0
    modify_index: int = 0
    lock_index: int = 0
    session: str = ""


class _Node(msgspec.Struct, rename="pascal"):
    node: str
    address: str = ""


class _Service(msgspec.Struct):
    id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Service")
    address: str = msgspec.field(name="Address", default="")
    port: int = msgspec.field(name="Port", default=0)
    tags: list[str] | None = msgspec.field(name="Tags", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)


class _Check(msgspec.Struct):
    id: str = msgspec.field(name="CheckID")
    status: Status = msgspec.field(name="Status")
    name: str = msgspec.field(name="Name", default="")
    output: str = msgspec.field(name="Output", default="")


class _Instance(msgspec.Struct, rename="pascal"):
    node: _Node
    service: _Service
    checks: list[_Check] = []


def entries(body: bytes) -> list[Entry]:
    """The answer of ``GET /v1/kv``. Raises msgspec.DecodeError or ValueError if it is not one."""
    return [_read_entry(found) for found in msgspec.json.decode(body, type=list[_Entry])]


def _read_entry(found: _Entry) -> Entry:
    return Entry(
        key=found.key,
        value=base64.b64decode(found.value or "", validate=True),
        flags=found.flags,
        create_index=found.create_index,
        modify_index=found.modify_index,
        lock_index=found.lock_index,
        session=found.session,
    )


class _Result(msgspec.Struct):
    kv: _Entry | None = msgspec.field(name="KV", default=None)


class _Transaction(msgspec.Struct, rename="pascal"):
    results: list[_Result] | None = None


def transacted(body: bytes) -> list[Entry]:
    """The entries that a transaction wrote, in order. Raises as `entries`."""
    results = msgspec.json.decode(body, type=_Transaction).results or []
    return [_read_entry(result.kv) for result in results if result.kv is not None]


def instances(body: bytes) -> tuple[Instance, ...]:
    """The answer of ``GET /v1/health/service``, by id. Raises msgspec.DecodeError."""
    found = [
        Instance(
            id=one.service.id,
            name=one.service.name,
            node=one.node.node,
            address=one.service.address or one.node.address,
            port=one.service.port,
            tags=tuple(one.service.tags or ()),
            meta=one.service.meta or {},
            checks=tuple(
                CheckResult(id=c.id, name=c.name, status=c.status, output=c.output)
                for c in sorted(one.checks, key=lambda c: c.id)
            ),
        )
        for one in msgspec.json.decode(body, type=list[_Instance])
    ]
    return tuple(sorted(found, key=lambda instance: (instance.node, instance.id)))
