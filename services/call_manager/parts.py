"""What the admin API works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import HTTPException

from services.call_manager.alerts import AlertsPart
from services.call_manager.call_log import CallLog
from services.call_manager.prompts import RecordedPrompts
from services.call_manager.rpc import Rpc
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.call_manager.trunk_agent import Trunks
from services.call_manager.user_copy import UserCopy
from services.call_manager.vip import Vip
from services.core.admin import Health
from services.core.seal import Seal
from services.core.store import Database


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Made by the agent, read by the routes in `api`.

    ``database`` is the store; ``own`` has Kamailio's tables, and may be the same.
    """

    settings: CallManagerSettings
    state: State
    database: Database
    own: Database
    seal: Seal
    token: str
    rpc: Rpc
    calls: CallLog
    users: UserCopy
    trunks: Trunks
    vip: Vip
    alerts: AlertsPart
    prompts: RecordedPrompts
    drain: Callable[[], Awaitable[None]]
    health: Callable[[], Health]

    def known(self, tenant: str) -> None:
        """Raises HTTPException 404 for a tenant that the configuration in force does not have."""
        picture = self.state.picture
        if picture is None or any(one.name == tenant for one in picture.tenants):
            return
        names = ", ".join(sorted(one.name for one in picture.tenants)) or "none"
        raise HTTPException(404, f"no tenant is named {tenant}; the tenants are {names}")
