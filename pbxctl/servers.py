"""Takes servers out of service and back, by the administrator's switches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from urllib.parse import quote

import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.calls import Call, calls_up
from pbxctl.engines.engine import Endpoints, JobStatus
from pbxctl.registry_client import RegistryClient, Service
from pbxctl.switching import CALL_MANAGER, IVR, MEDIA, let_go, set_switch
from services.core.configuration import ENABLED, Switch

IN_FORCE = 20.0
"""Seconds for the Call Managers to go by a switch: Kamailio takes in media servers each 10 s."""
HAND_OVER = 15.0
"""Seconds for other servers to have taken what floats."""
POLL = 0.5
TAKES_CALLS = (MEDIA, IVR, CALL_MANAGER)
VIP = "vip"


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the calls of one role of a server. ``seconds`` is how long it took."""

    role: str
    handed_over: int
    finished: int
    cut: int
    seconds: float


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster's registry, and what opens its APIs."""

    registry: RegistryClient
    endpoints: Endpoints

    async def managers(self) -> tuple[Service, ...]:
        """The Call Managers that are registered. Raises RegistryError."""
        return await self.registry.services([CALL_MANAGER])

    async def calls(self, server: str, role: str) -> dict[str, Call]:
        """Calls that a server carries in a role, by id. Raises RegistryError and AdminError."""
        up = await calls_up(await self.managers(), self.endpoints.admin_token)
        return {call.id: call for call in up if call.is_on(server, role)}

    async def calls_known(self, server: str, role: str) -> dict[str, Call]:
        """The same; none where the Call Managers cannot be asked. Raises RegistryError."""
        with contextlib.suppress(AdminError):
            return await self.calls(server, role)
        return {}

    async def switch(self, server: str, role: str, switch: Switch | None) -> list[str]:
        """Write it and wait; names of Call Managers that do not go by it. Raises RegistryError."""
        token = self.endpoints.admin_token
        return await set_switch(self.registry, token, server, role, switch, within=IN_FORCE)

    async def alone(self, server: str, role: str) -> bool:
        """Whether no other server of the role is in service. Raises RegistryError."""
        switches = await self.registry.switches()
        return not any(
            each.status == "passing"
            and switches.get((each.server, role), ENABLED).state == "enabled"
            for each in await self.registry.services([role])
            if each.server != server
        )

    async def drain(
        self,
        server: str,
        role: str,
        deadline: float | None,
        tell: Callable[[str], None],
        *,
        before: Collection[str] = (),
    ) -> Drained:
        """After the switch: until the role has no calls left on the server.

        ``before`` are ids of calls that were up before it. ``deadline`` s from now those left are
        handed over, or ended where nobody can take them; without one it waits for ever.
        Raises RegistryError and AdminError.
        """
        begun = time.monotonic()
        first = await self.calls(server, role)
        left = first
        seen = len(first.keys() | set(before))
        handed = 0
        if role == CALL_MANAGER:
            moved = await self._move_vip(server, tell)
            left = await self.calls(server, role)
            if moved:
                # A proxy that lets go of the VIP has nothing to keep: they go on elsewhere.
                handed, left = len(left), {}
        with trio.move_on_after(float("inf") if deadline is None else deadline) as scope:
            while left:
                tell(f"draining {server}: {_count(left)} left")
                await trio.sleep(POLL)
                gone = role == MEDIA and await self._has_let_go(server)
                left = await self.calls(server, role)
                if gone:
                    # A media server that drains hands its addresses over, with the calls.
                    handed, left = len(left), {}
        cut = 0
        if scope.cancelled_caught:
            handed, cut = await self._at_the_deadline(server, role, tell)
        return Drained(
            role=role,
            handed_over=handed,
            finished=max(0, seen - handed - cut),
            cut=cut,
            seconds=time.monotonic() - begun,
        )

    async def _at_the_deadline(
        self, server: str, role: str, tell: Callable[[str], None]
    ) -> tuple[int, int]:
        """Calls handed over and calls ended."""
        there = (await self.registry.switches()).get((server, role), ENABLED)
        await self.switch(server, role, msgspec.structs.replace(there, state="disabled"))
        left = await self.calls(server, role)
        if role == MEDIA and left and not await self.alone(server, role):
            tell(f"handing {_count(left)} of {server} over")
            if await self._let_go(server):
                return len(await self.calls(server, role)), 0
        if role == IVR and left and (handed := await self._hand_calls_over(server)):
            return handed, 0
        cut = 0
        managers = await self.managers()
        for call in left.values():
            cut += await self._end(call, managers)
        return 0, cut

    async def _hand_calls_over(self, server: str) -> int:
        """How many calls an IVR server has left to others."""
        for own in await self.registry.services([IVR]):
            if own.server == server and own.admin:
                with contextlib.suppress(AdminError):
                    async with AdminClient(own.admin, self.endpoints.admin_token) as client:
                        return await client.hand_calls_over()
        return 0

    async def _let_go(self, server: str) -> bool:
        """Whether others have what floats to the server, waited for a while if anything does."""
        media = await self.registry.services([MEDIA])
        if not any(each.meta.get("home") for each in media if each.server == server):
            return False
        with trio.move_on_after(HAND_OVER):
            while True:
                if await self._has_let_go(server):
                    return True
                await trio.sleep(POLL)
        return False

    async def _has_let_go(self, server: str) -> bool:
        media = await self.registry.services([MEDIA])
        return let_go(server, media, await self.registry.floating())

    async def _move_vip(self, server: str, tell: Callable[[str], None]) -> bool:
        """Whether another Call Manager has the VIP now, and calls with it."""
        if await self.registry.holder(VIP) != server:
            return bool(await self.registry.holder(VIP))
        tell(f"handing the VIP over from {server}")
        own = next((each for each in await self.managers() if each.server == server), None)
        if own is not None and own.admin:
            async with AdminClient(own.admin, self.endpoints.admin_token) as client:
                with contextlib.suppress(AdminError):
                    await client.fail_over()
        with trio.move_on_after(HAND_OVER):
            while True:
                if await self.registry.holder(VIP) not in ("", server):
                    return True
                await trio.sleep(POLL)
        return False

    async def _end(self, call: Call, managers: Sequence[Service]) -> bool:
        """Whether a call was ended by it; it may be over already."""
        own = [each for each in managers if each.server == call.server] or list(managers)
        for manager in own:
            if not manager.admin:
                continue
            with contextlib.suppress(AdminError):
                async with AdminClient(manager.admin, self.endpoints.admin_token) as client:
                    path = f"/v1/calls/{quote(call.id, safe='')}?reason=drain"
                    await client.send("DELETE", path)
                    return True
        return False


def roles_of(known: Sequence[JobStatus | Service], server: str, role: str | None) -> list[str]:
    """The roles meant of a server: those that take calls first. Raises LookupError for people.

    ``known`` is what the engine runs and the registry has.
    """
    there = {each.role for each in known if each.server == server}
    if not there:
        names = ", ".join(sorted({each.server for each in known})) or "none"
        raise LookupError(f"no server is named {server}; the servers are {names}")
    if role is not None and role not in there:
        raise LookupError(f"{server} has no role {role}; it has {', '.join(sorted(there))}")
    chosen = there if role is None else {role}
    return sorted(chosen, key=lambda each: (each not in TAKES_CALLS, each))


def _count(calls: dict[str, Call]) -> str:
    return "1 call" if len(calls) == 1 else f"{len(calls)} calls"
