"""Ends a call from here, however far it is and whoever still knows it."""

from __future__ import annotations

import logging
from typing import Literal

import trio

from services.call_manager import control
from services.call_manager.call_log import CallLog
from services.call_manager.continuity import vip_is_here
from services.call_manager.hangup import Bye, byes
from services.call_manager.options import OptionsError, over_udp
from services.call_manager.routing.uri import host
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.core.events import Answered

log = logging.getLogger(__name__)

NO_DIALOG = 481
"""SIP status of a call that Kamailio no longer knows (RFC 3261 section 12.2.2)."""

EVENT_WITHIN = 2.0
"""Seconds for the event of an answer to come from a worker's file."""

BYE_WITHIN = 2.0
"""Seconds for a phone to answer a BYE; Kamailio goes on with it alone after that."""

Result = Literal["ended", "cancelled", "forgotten"]


async def end_call(
    calls: CallLog, rpc: Rpc, settings: CallManagerSettings, call_id: str, reason: str
) -> Result | None:
    """How the call was ended; None if no such call is up here. Raises RpcError.

    ``forgotten``: nobody knows how its parties are reached, and there was only the record to close.
    """
    # First, for its end may be told while Kamailio is still being asked.
    calls.end_with(call_id, reason)
    result = await _end(calls, rpc, settings, call_id, reason)
    if result is not None:
        log.info("call %s: %s: %s", call_id, result, reason)
    return result


async def _end(
    calls: CallLog, rpc: Rpc, settings: CallManagerSettings, call_id: str, reason: str
) -> Result | None:
    answered = await _answered(calls, rpc, call_id)
    if answered is not None and await hang_up(settings, answered, reason):
        return "ended"
    result = await control.end(rpc, call_id, reason)
    if result != "unknown":
        return result
    if call_id not in calls.view.up:
        return None
    if settings.peers and not vip_is_here(settings.vip)():
        raise RpcError("it rings at the Call Manager that has the VIP: ask that one")
    calls.ended(call_id, code=NO_DIALOG, reason=reason)
    return "forgotten"


async def hang_up(settings: CallManagerSettings, answered: Answered, reason: str) -> bool:
    """Send a BYE to each party; False where nobody knows how they are reached. Raises RpcError."""
    farewell = byes(answered, host(settings.public_address or settings.vip), reason)
    problems: list[str] = []
    async with trio.open_nursery() as nursery:
        for bye in farewell:
            nursery.start_soon(_send, settings, bye, problems)
    if problems:
        raise RpcError(problems[0])
    return bool(farewell)


async def _send(settings: CallManagerSettings, bye: Bye, problems: list[str]) -> None:
    """Bring a BYE to the Kamailio that has the VIP, ours or another one's.

    A phone that does not answer it is gone, and that is well.
    """
    address = settings.address
    try:
        with trio.move_on_after(BYE_WITHIN):
            await over_udp(
                # Only from there are phones reached.
                settings.vip,
                settings.sip_port,
                address,
                lambda own: bye.message(host(address), own),
            )
    except (OSError, OptionsError) as error:
        problems.append(f"Kamailio does not take a BYE: {error}")


async def _answered(calls: CallLog, rpc: Rpc, call_id: str) -> Answered | None:
    """The event that says how the parties are reached; it may be on its way to us."""
    with trio.move_on_after(EVENT_WITHIN):
        while True:
            call = calls.view.up.get(call_id)
            if call is not None and call.answered is not None:
                return call.reached
            if not await control.is_answered(rpc, call_id):
                return None
            await trio.sleep(0.05)
    return None
