"""Calls that are up and phones that are registered, asked of every Call Manager."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence

import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.registry_client import Service

PAGE = 1000
REGISTERED = "pbx_registrations"
TELL_WITHIN = 3.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Times are Unix times, ``answered`` None while it rings.

    ``app``, ``within`` and ``way``: see the API's `CallUp`.
    """

    id: str
    tenant: str = ""
    direction: str = ""
    caller: str = ""
    callee: str = ""
    trunk: str = ""
    media: str = ""
    server: str = ""
    started: float = 0.0
    answered: float | None = None
    answered_by: str = ""
    app: str = ""
    within: str = ""
    way: tuple[str, ...] = ()

    def is_on(self, server: str, role: str) -> bool:
        """Whether a server carries it in a role."""
        if role == "media":
            return self.media == server
        return self.server == server if role == "call-manager" else self.app == f"{role}/{server}"


def whole(calls: Iterable[Call]) -> list[Call]:
    """Calls as people count them, without those that application servers make for one."""
    return [call for call in calls if not call.within]


async def calls_up(managers: Sequence[Service], token: str) -> list[Call]:
    """All of them, oldest first. Raises AdminError if a Call Manager that is up does not answer."""
    found: list[Call] = []
    for manager in _asked(managers):
        async with AdminClient(manager.admin, token, patience=0) as client:
            found += await client.get("/v1/calls", list[Call])
    return _once(found)


def _once(calls: Iterable[Call]) -> list[Call]:
    """Each call as the last one tells it; oldest first."""
    found = {call.id: call for call in calls}
    return sorted(found.values(), key=lambda call: call.started)


def _asked(managers: Sequence[Service]) -> list[Service]:
    return [each for each in managers if each.admin and each.status != "critical"]


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """One contact of a phone. ``expires`` is a Unix time, ``received`` where it sends from.

    ``domain`` is the tenant's first SIP domain.
    """

    id: str = ""
    tenant: str = ""
    extension: str = ""
    domain: str = ""
    contact: str = ""
    received: str = ""
    user_agent: str = ""
    expires: float = 0.0


async def bindings(
    client: AdminClient, *, tenant: str | None = None, extension: str | None = None
) -> AsyncGenerator[Binding]:
    """Every binding, page by page. Raises AdminError."""
    after: str | None = None
    while True:
        page = await client.get(
            "/v1/registrations",
            list[Binding],
            tenant=tenant,
            extension=extension,
            after=after,
            limit=PAGE,
        )
        for binding in page:
            yield binding
        if len(page) < PAGE:
            return
        after = page[-1].id


class Trunk(msgspec.Struct, frozen=True, kw_only=True):
    """A trunk as one Call Manager sees it; ``options`` is the last answer's status, 0: none."""

    name: str
    host: str = ""
    transport: str = ""
    addresses: tuple[str, ...] = ()
    registration: str = "none"
    options: int = 0
    options_ms: float = 0.0
    options_problem: str = ""
    server: str = ""

    @property
    def trouble(self) -> str:
        """What is wrong with it, for people; empty if nothing is known to be."""
        found: list[str] = []
        if self.registration == "registering":
            found.append("not registered")
        elif self.registration not in ("none", "registered"):
            found.append(f"not registered: {self.registration}")
        if self.options_problem:
            found.append(f"OPTIONS: {self.options_problem}")
        return "; ".join(found)


async def trunks(managers: Sequence[Service], token: str) -> list[Trunk]:
    """Every trunk as each Call Manager sees it, by name and server. Raises AdminError."""
    found: list[Trunk] = []
    for manager in _asked(managers):
        async with AdminClient(manager.admin, token, patience=0) as client:
            found += await _trunks(client, manager.server)
    return sorted(found, key=lambda one: (one.name, one.server))


async def _trunks(client: AdminClient, server: str) -> list[Trunk]:
    seen = await client.get("/v1/trunks", list[Trunk])
    return [msgspec.structs.replace(one, server=server) for one in seen]


async def _registered(client: AdminClient) -> int | None:
    """How many bindings there are, as a Call Manager's metrics say; None if they do not."""
    text = (await client.send("GET", "/metrics")).decode(errors="replace")
    found = re.search(rf"^{REGISTERED}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the Call Managers said together; ``calls`` and ``registered`` are None if none did.

    ``problems``: who of them did not answer, and why, for people.
    """

    calls: tuple[Call, ...] | None = None
    registered: int | None = None
    trunks: tuple[Trunk, ...] = ()
    problems: tuple[str, ...] = ()


async def told(managers: Sequence[Service], token: str) -> Told:
    """All of them asked at once, `TELL_WITHIN` s each: one that hangs does not hide the others."""
    calls: list[Call] = []
    registered: list[int] = []
    carriers: list[Trunk] = []
    problems: list[str] = []
    answered = 0

    async def ask(manager: Service) -> None:
        nonlocal answered
        why = f"did not answer within {TELL_WITHIN:g} s"
        with trio.move_on_after(TELL_WITHIN):
            try:
                async with AdminClient(manager.admin, token, patience=0) as client:
                    up = await client.get("/v1/calls", list[Call])
                    bindings = await _registered(client)
                    seen = await _trunks(client, manager.server)
            except AdminError as error:
                why = str(error)
            else:
                answered += 1
                calls.extend(up)
                carriers.extend(seen)
                registered.extend(() if bindings is None else (bindings,))
                return
        problems.append(f"Call Manager {manager.server}: {why}")

    async with trio.open_nursery() as nursery:
        for manager in _asked(managers):
            nursery.start_soon(ask, manager)
    return Told(
        calls=tuple(_once(calls)) if answered else None,
        # Each has them all, but for what is on its way.
        registered=max(registered, default=None),
        trunks=tuple(sorted(carriers, key=lambda one: (one.name, one.server))),
        problems=tuple(sorted(problems)),
    )
