"""Tells phones of waiting messages: NOTIFY message-summary (RFC 3842), without a subscription.

Phones take it as their registrar's word; of those that are not registered when a box changes, the
owner hears it when he calls his box.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence

import trio

from services.call_manager import control
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.state import State
from services.call_manager.vip import Vip
from services.core.store import Binding, Database, StoreError, voicemail
from services.core.store.voicemail import Box

log = logging.getLogger(__name__)

EVERY = 1.0


class Waiting:
    """`run` never returns; the VIP's holder alone does something."""

    def __init__(self, state: State, database: Database, vip: Vip, rpc: Rpc) -> None:
        self._state = state
        self._database = database
        self._vip = vip
        self._rpc = rpc

    async def run(self, well: Callable[[], None]) -> None:
        """Tell of every box that has changed."""
        while True:
            if self._vip.held:
                try:
                    for box in await trio.to_thread.run_sync(self._take):
                        await self._tell(box)
                except StoreError as error:
                    log.debug("message waiting: %s", error)
            well()
            await trio.sleep(EVERY)

    def _take(self) -> Sequence[Box]:
        with self._database.read() as connection:
            # A writer would hold up others each second, for nothing as a rule.
            if not voicemail.any_changed(connection):
                return ()
        with self._database.write() as connection:
            changed = voicemail.take_changed(connection)
            now = time.time()
            return [voicemail.box(connection, *each, now) for each in changed]

    async def _tell(self, box: Box) -> None:
        try:
            bindings = await control.lookup(self._rpc, box.tenant, box.extension, time.time())
            for binding in bindings:
                await self._rpc("tm.t_uac_start", *notify(box, self._domain(box.tenant), binding))
        except RpcError as error:
            log.info("message waiting: %s in %s: %s", box.extension, box.tenant, error)

    def _domain(self, tenant: str) -> str:
        picture = self._state.picture
        found = picture.tenants if picture is not None else ()
        return next((one.domains[0] for one in found if one.name == tenant), tenant)


def notify(box: Box, domain: str, binding: Binding) -> tuple[str, str, str, str, str, str]:
    """Parameters of Kamailio's ``tm.t_uac_start`` for one phone: method, Request-URI, next hop,
    socket, header fields and body. Pure.
    """
    account = f"sip:{box.extension}@{domain}"
    route = f"Route: {binding.path}\r\n" if binding.path else ""
    headers = (
        f"From: <{account}>;tag={secrets.token_hex(8)}\r\n"
        f"To: <{account}>\r\n"
        f"Call-ID: {secrets.token_hex(12)}\r\n"
        f"{route}"
        f"Contact: <{account}>\r\n"
        "Event: message-summary\r\n"
        "Subscription-State: active\r\n"
        "Content-Type: application/simple-message-summary\r\n"
    )
    body = (
        f"Messages-Waiting: {'yes' if box.new else 'no'}\r\n"
        f"Message-Account: {account}\r\n"
        f"Voice-Message: {box.new}/{box.saved} (0/0)\r\n"
    )
    hop, socket = binding.received or ".", binding.socket or "."
    return "NOTIFY", binding.contact, hop, socket, headers, body
