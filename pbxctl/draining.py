"""A server that changes or goes gets no new calls first, and time for those it has."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from pbxctl.calls import calls_up
from pbxctl.observe import CALL_MANAGER
from pbxctl.progress import Progress
from pbxctl.registry_client import RegistryClient
from pbxctl.switching import APPS, MEDIA, let_go, set_switch
from services.core.configuration import ENABLED, Switch

DRAINER = "pbxctl apply"
"""Who set a switch that is only for the time of an apply."""
TAKE_BACK_WITHIN = 15.0
"""Seconds that taking the switch back may take after Ctrl-C."""
POLL = 0.5
IN_FORCE = 5.0
"""Seconds for Call Managers to go by a switch; who takes longer is not waited for."""


@asynccontextmanager
async def emptied(
    registry: RegistryClient, token: str, job_id: str, progress: Progress, *, within: float
) -> AsyncGenerator[None]:
    """A media or IVR server gets no new calls inside, and those it has were given ``within`` s to
    end, or were handed over.

    Only if another can take the new ones meanwhile. Whatever an administrator has set stays.
    Raises RegistryError and AdminError.
    """
    servers = await registry.services([MEDIA, *APPS])
    switches = await registry.switches()

    def enabled(server: str) -> bool:
        return switches.get((server, role), ENABLED).state == "enabled"

    own = next((each for each in servers if each.id == job_id), None)
    role = own.role if own is not None else ""
    others = [
        each
        for each in servers
        if each.role == role
        and each.id != job_id
        and each.status == "passing"
        and enabled(each.server)
    ]
    if own is None or own.status == "critical" or not others or not enabled(own.server):
        yield
        return
    progress.doing(f"draining {own.server}")
    reason = "its job changes"
    switch = Switch(state="draining", reason=reason, by=DRAINER, since=time.time())
    try:
        await set_switch(registry, token, own.server, role, switch, within=IN_FORCE)
        with trio.move_on_after(within):
            while left := await _calls_on(registry, token, own.server, role):
                calls = "1 call" if left == 1 else f"{left} calls"
                progress.doing(f"draining {own.server}: {calls} left")
                if role == MEDIA and let_go(
                    own.server, await registry.services([MEDIA]), await registry.floating()
                ):
                    # Its calls are on another server already.
                    break
                await trio.sleep(POLL)
        yield
    finally:
        # Ctrl-C too: nobody else would take it back.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + TAKE_BACK_WITHIN):
            await registry.switch(own.server, role, None)


async def take_back(registry: RegistryClient) -> None:
    """Takes back the switches of an apply that was killed. Raises RegistryError."""
    for (server, role), switch in (await registry.switches()).items():
        if switch.by == DRAINER:
            await registry.switch(server, role, None)


async def _calls_on(registry: RegistryClient, token: str, server: str, role: str) -> int:
    managers = await registry.services([CALL_MANAGER])
    return sum(call.is_on(server, role) for call in await calls_up(managers, token))
