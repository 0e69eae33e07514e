"""Administrators' switches: writing one, and waiting until the Call Managers go by it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import trio

from pbxctl.admin_client import AdminClient, AdminError, InForce
from pbxctl.registry_client import RegistryClient, Service
from services.core.configuration import Switch, SwitchState

CALL_MANAGER = "call-manager"
MEDIA = "media"
IVR = "ivr"
APPS = (IVR,)
"""Roles that take calls themselves."""
FLOATING = "media/"
"""Floating media addresses' names begin so."""
ASK_WITHIN = 2.0
POLL = 0.1


def goes_by(has: InForce, own: bool, server: str, role: str, state: SwitchState) -> bool:
    """Whether a Call Manager goes by a switch; one that does not say so is taken at that.

    ``own``: it is the server that is switched.
    """
    if role == CALL_MANAGER:
        return not own or has.switch in ("", state)
    if role == MEDIA:
        there = next((each.state for each in has.media or () if each.name == server), "")
    elif role in APPS:
        own_role = (each for each in has.apps if (each.role, each.name) == (role, server))
        there = next((each.state for each in own_role), "")
    else:
        return True
    if not there or there == "down":
        return True
    return there == state if state != "enabled" else there == "up"


def let_go(server: str, media: Sequence[Service], holders: Mapping[str, str]) -> bool:
    """Whether others hold every floating media address that was the server's, its own first.

    Its calls went with them. ``holders`` is `RegistryClient.floating`.
    """
    home = next((each.meta.get("home", "") for each in media if each.server == server), "")
    if not home or holders.get(f"{FLOATING}{home}", server) == server:
        return False
    return all(who != server for name, who in holders.items() if name.startswith(FLOATING))


async def media_states(managers: Sequence[Service], token: str) -> list[dict[str, str]]:
    """States of media servers by name, as each Call Manager has them that is up and answers."""
    found: list[dict[str, str]] = []

    async def ask(manager: Service) -> None:
        with trio.move_on_after(ASK_WITHIN), contextlib.suppress(AdminError):
            async with AdminClient(manager.admin, token, patience=0) as client:
                media = (await client.in_force()).media
                if media is not None:
                    found.append({each.name: each.state for each in media})

    async with trio.open_nursery() as nursery:
        for manager in managers:
            if manager.admin and manager.status != "critical":
                nursery.start_soon(ask, manager)
    return found


async def late(
    managers: Sequence[Service], token: str, server: str, role: str, state: SwitchState
) -> list[str]:
    """Call Managers that are up and do not go by the switch yet, by name."""
    found: list[str] = []

    async def ask(manager: Service) -> None:
        with trio.move_on_after(ASK_WITHIN), contextlib.suppress(AdminError):
            async with AdminClient(manager.admin, token, patience=0) as client:
                if goes_by(await client.in_force(), manager.server == server, server, role, state):
                    return
        found.append(manager.server)

    async with trio.open_nursery() as nursery:
        for manager in managers:
            if manager.admin and manager.status != "critical":
                nursery.start_soon(ask, manager)
    return sorted(found)


async def set_switch(
    registry: RegistryClient,
    token: str,
    server: str,
    role: str,
    switch: Switch | None,
    *,
    within: float,
) -> list[str]:
    """Write it (None: enabled) and wait; the Call Managers that do not go by it after ``within`` s.

    Raises RegistryError.
    """
    await registry.switch(server, role, switch)
    state: SwitchState = switch.state if switch else "enabled"
    waiting: list[str] = []
    with trio.move_on_after(within):
        while True:
            managers = await registry.services([CALL_MANAGER])
            waiting = await late(managers, token, server, role, state)
            if not waiting:
                return []
            await trio.sleep(POLL)
    return waiting
