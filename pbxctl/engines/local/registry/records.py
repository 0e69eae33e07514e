"""What the registry remembers. Immutable; a change replaces the record."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["passing", "warning", "critical"]
Behavior = Literal["release", "delete"]

SERF_HEALTH = "serfHealth"
"""Consul's own check of a node. Here the node is this machine, and always well."""


class RefusedError(Exception):
    """A request that Consul would refuse; ``status`` is HTTP's."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """``created`` and ``modified`` are indexes of the registry's log."""

    created: int = 0
    modified: int = 0


class Key(Record, frozen=True, kw_only=True):
    id: str
    value: bytes
    flags: int = 0
    locks: int = 0
    session: str = ""


class Session(Record, frozen=True, kw_only=True):
    """``ttl`` and ``lock_delay`` in seconds, ``checks`` ids of checks that end it."""

    id: str
    name: str = ""
    ttl: float = 0.0
    lock_delay: float = 15.0
    behavior: Behavior = "release"
    node_checks: tuple[str, ...] = (SERF_HEALTH,)
    service_checks: tuple[str, ...] = ()


class Service(Record, frozen=True, kw_only=True):
    id: str
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    enable_tag_override: bool = False
    weights: tuple[int, int] = (1, 1)


class Check(Record, frozen=True, kw_only=True):
    """A check of a service, or of the node where ``service`` is empty. Times are in seconds."""

    id: str
    name: str
    service: str = ""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    kind: Literal["ttl", "http", "tcp"]
    target: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    body: str = ""
    ttl: float = 0.0
    interval: float = 0.0
    timeout: float = 10.0
    deregister_after: float = 0.0
    notes: str = ""
    status: Status = "critical"
    output: str = ""


AnyRecord = Key | Session | Service | Check
Kind = Literal["key", "session", "service", "check"]

KINDS: dict[Kind, type[AnyRecord]] = {
    "key": Key,
    "session": Session,
    "service": Service,
    "check": Check,
}
