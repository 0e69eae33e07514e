"""What the registry holds, as services see it."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["passing", "warning", "critical"]
TROUBLE = "trouble"
"""Tag of a service that does its job, with something wrong that people must look at; its check's
output says what."""

_WORST: tuple[Status, ...] = ("critical", "warning", "passing")


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """How the registry learns a service's health: exactly one of ``ttl``, ``http`` and ``tcp``.

    ``ttl`` (seconds): the service reports; silence for longer makes it critical. ``http`` is a URL
    that answers 2xx, ``tcp`` a ``host:port`` that accepts, tried every ``interval`` seconds.
    ``deregister_after`` seconds of critical remove the service; 0 never; Consul's least is 60.
    """

    ttl: float = 0.0
    http: str = ""
    tcp: str = ""
    interval: float = 0.0
    timeout: float = 0.0
    deregister_after: float = 0.0
    name: str = ""
    status: Status = "critical"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What a role registers: ``id`` is ``<cluster>-<role>-<server>``, ``name`` the role."""

    id: str
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    checks: tuple[Check, ...] = ()


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check as the registry knows it; ``output`` is for people."""

    id: str
    name: str
    status: Status
    output: str = ""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A registered service and its health, checks of its node included."""

    id: str
    name: str
    node: str
    address: str
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    checks: tuple[CheckResult, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of its checks; passing where there are none."""
        found = {check.status for check in self.checks}
        for status in _WORST:
            if status in found:
                return status
        return "passing"

    @property
    def passing(self) -> bool:
        """Whether every check passes."""
        return self.status == "passing"

    @property
    def output(self) -> str:
        """What its own checks said last; its node's left out."""
        said = [check.output for check in self.checks if check.id != "serfHealth"]
        return "; ".join(text for text in said if text)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A key and its value. ``cas`` compares ``modify_index``; ``session`` holds the lock."""

    key: str
    value: bytes
    flags: int = 0
    create_index: int = 0
    modify_index: int = 0
    lock_index: int = 0
    session: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a lock alive. ``ttl`` and ``lock_delay`` in seconds; ``ttl`` 0 means none.

    The session ends when a check of ``node_checks`` or ``service_checks`` (check ids) turns
    critical; its locks are then released, or their keys deleted, as ``behavior`` says.
    """

    name: str = ""
    ttl: float = 0.0
    lock_delay: float = 0.001
    behavior: Literal["release", "delete"] = "release"
    node_checks: tuple[str, ...] = ("serfHealth",)
    service_checks: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One step of `Registry.transact` on the key-value store; Consul's verbs.

    ``check-index`` and ``cas`` compare ``index`` with the entry's ``modify_index`` (``cas`` with 0:
    there is none); ``lock`` and ``unlock`` are for ``session`` and write ``value``.
    """

    verb: Literal["check-index", "check-not-exists", "cas", "lock", "unlock", "delete-tree"]
    key: str
    value: bytes = b""
    index: int = 0
    session: str = ""


class SessionInfo(msgspec.Struct, frozen=True):
    """A session there is. ``index`` is the registry's when it was created."""

    id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name", default="")
    index: int = msgspec.field(name="CreateIndex", default=0)


class RaftServer(msgspec.Struct, frozen=True):
    """A server of the registry's; ``address`` with its port."""

    id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node", default="")
    address: str = msgspec.field(name="Address", default="")
    leader: bool = msgspec.field(name="Leader", default=False)
    voter: bool = msgspec.field(name="Voter", default=False)
