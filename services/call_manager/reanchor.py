"""Leads the media of calls anew that their media server has lost, by re-INVITE from here.

Which calls, where and when again is decided in reanchoring.py; what Kamailio does with the requests
is in routing/kamailio_anchor.py. Only who has the VIP does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from services.call_manager import takeover
from services.call_manager.balancer import Fleet
from services.call_manager.call_log import CallLog
from services.call_manager.ending import end_call, hang_up
from services.call_manager.in_dialog import Leg, legs
from services.call_manager.lost_media import REASON, Outages
from services.call_manager.media_exchange import MediaExchange
from services.call_manager.media_watch import knows
from services.call_manager.reanchoring import NO_DIALOG, Move, Reanchoring
from services.call_manager.routing import sequence
from services.call_manager.routing.identity import ANCHOR
from services.call_manager.routing.media_profile import inactive
from services.call_manager.routing.target_signature import Anchor, read_target, sign_again
from services.call_manager.routing.uri import host
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.call_manager.uac import Exchange, Invite, Response, open_exchange
from services.core.events import Side
from services.core.ng import NgError, open_ng

log = logging.getLogger(__name__)

LOOK = 0.1
EVERY = 1.0
"""Seconds between looks at all calls while no media server changes."""
PACE = 0.005
AT_ONCE = 50
"""Calls under way at once, and the pause in s between two: each is ten messages, two of them with
work for the media server; and a phone that is gone holds up few others."""
ASKED_WITHIN, TOLD_WITHIN = 8.0, 8.0
"""Seconds for a party to answer; what it sends again until the ACK comes, it sends for 32 s."""
LINGER = 10.0
DONE, UNSUITABLE, UNAVAILABLE = 200, 488, 503
ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, REFER, INFO, NOTIFY\r\n"


class Reanchor:
    """`run` never returns."""

    def __init__(
        self,
        settings: CallManagerSettings,
        fleet: Fleet,
        state: State,
        calls: CallLog,
        rpc: Rpc,
        outages: Outages,
    ) -> None:
        self._settings = settings
        self._key = settings.cluster_key()
        self._here = host(settings.public_address or settings.vip)
        self._fleet = fleet
        self._state = state
        self._calls = calls
        self._rpc = rpc
        self._outages = outages
        self._decided = Reanchoring(outages)
        self._slots = trio.Semaphore(AT_ONCE)

    def under_way(self) -> set[str]:
        """Calls whose media are being led anew, or about to be."""
        self._see()
        return self._decided.under_way

    async def run(self, well: Callable[[], None]) -> None:
        """Look again and again, and do what is due."""
        media, looked = None, 0.0
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._state.media is not media
                if changed or trio.current_time() >= looked + EVERY:
                    media, looked = self._state.media, trio.current_time()
                    self._see()
                for move in self._decided.due(time.time()):
                    await self._slots.acquire()
                    nursery.start_soon(self._carry, move)
                    await trio.sleep(PACE)
                well()
                await trio.sleep(LOOK)

    def _see(self) -> None:
        # Who has the VIP does it.
        calls = self._calls.view.up.values() if self._state.holder else ()
        servers = {server.name: server for server in self._state.media}
        self._decided.see(calls, servers, self._state.loads, self._fleet.lost, time.time())

    async def _carry(self, move: Move) -> None:
        call_id = move.call.started.call
        under_way = _UnderWay(self, move)
        try:
            under_way.settle(await self._move(move, under_way))
        except (OSError, RpcError, NgError) as error:
            log.warning("call %s: its media cannot be led to %s: %s", call_id, move.media, error)
        finally:
            under_way.settle(UNAVAILABLE)
        if under_way.code == NO_DIALOG or (
            under_way.code >= 300 and call_id not in self._calls.view.up
        ):
            await self._end(move)

    def release(self, move: Move, code: int) -> None:
        """A move is over for whoever waits for the next."""
        self._slots.release()
        self._decided.settled(move, code, time.time())
        if code >= 300:
            self._state.not_led += 1
            call_id = move.call.started.call
            log.warning("call %s: its media are not led to %s: %d", call_id, move.media, code)

    async def _move(self, move: Move, under_way: _UnderWay) -> int:
        """Lead a call's media anew; the status of who did not agree, or 200."""
        call, call_id = move.call, move.call.started.call
        server = next((each for each in self._state.media if each.name == move.media), None)
        answered = call.reached
        ways = legs(answered, self._here) if answered is not None else None
        if server is None or answered is None or ways is None:
            return UNSUITABLE
        if move.asked and await knows(server, call_id, self._settings.address):
            self._outages.keep(call_id)
            return DONE
        first = ways[0] if move.first == "caller" else ways[1]
        anchor = Anchor(move.turn, move.media)
        asking = self._invite(move, first, self._signed(call_id, first.other, anchor))
        if asking is None:
            return UNSUITABLE
        if call_id not in self._calls.view.up:
            return NO_DIALOG
        self._calls.moved(call_id, move.media, move.turn)
        if call.started.trunk:
            anchored = takeover.anchor_of(move.turn, move.media)
            await self._rpc("htable.sets", "anchors", call_id, anchored)
        async with (
            open_ng(*server.control_address, self._settings.address) as ng,
            self._exchange(asking) as one,
        ):
            session = MediaExchange(ng, call, move.first)
            asked = await one.final(ASKED_WITHIN)
            if asked.code >= 300:
                return asked.code
            try:
                return await self._agree(move, under_way, ways, session, one, asked)
            except NgError:
                # Who has made an offer waits for an ACK, whatever has become of it.
                await one.acknowledge(asked, inactive(asked.body))
                raise

    async def _agree(
        self,
        move: Move,
        under_way: _UnderWay,
        ways: tuple[Leg, Leg],
        session: MediaExchange,
        one: Exchange,
        asked: Response,
    ) -> int:
        """Take the offer of who was asked to the other one, and the answer back."""
        first, second = ways if move.first == "caller" else ways[::-1]
        offer = await session.offer(asked.body) if "m=" in asked.body else ""
        telling = self._invite(move, second, asked.contact, offer)
        if telling is None or not offer:
            await one.acknowledge(asked)
            return UNSUITABLE
        async with self._exchange(telling) as other:
            told = await other.final(TOLD_WITHIN)
            if told.code >= 300:
                await one.acknowledge(asked, await session.answer(inactive(offer)))
                return told.code
            await other.acknowledge(told)
            await one.acknowledge(asked, await session.answer(told.body))
            targets = asked.contact or first.uri, told.contact or second.uri
            if move.first == "callee":
                targets = targets[1], targets[0]
            if not self._tell(move, targets):
                # It has ended meanwhile, and a BYE may have come with a number too low.
                return NO_DIALOG
            self._state.led_anew += 1
            under_way.settle(DONE)
            # The ACKs are the last to be lost.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.linger, LINGER)
                nursery.start_soon(other.linger, LINGER)
        return DONE

    def _exchange(self, invite: Invite) -> AbstractAsyncContextManager[Exchange]:
        s = self._settings
        return open_exchange(s.address, (s.vip, s.sip_port), invite)

    def _signed(self, call_id: str, uri: str, anchor: Anchor) -> str:
        """A target that says where the call's media are from now on; "" if it is none of ours."""
        target = read_target(self._key, call_id, uri)
        return "" if target is None else sign_again(self._key, call_id, target, anchor)

    def _invite(self, move: Move, leg: Leg, contact: str, body: str = "") -> Invite | None:
        """A re-INVITE to one party as if from the other; None where it cannot be made."""
        started = move.call.started
        begun = int(started.cseq) if leg.sender == "caller" and started.cseq.isdecimal() else 0
        number = sequence.ours(leg.sender, move.turn, begun, move.attempt)
        uri = self._signed(started.call, leg.uri, Anchor(move.turn, move.media))
        if number is None or not uri or not contact:
            return None
        more = f"Contact: <{contact}>\r\n{ALLOW}"
        return Invite(
            uri=uri,
            headers=f"{leg.headers}{ANCHOR}: {move.turn}\r\n",
            number=number,
            more=more,
            body=body,
        )

    def _tell(self, move: Move, targets: tuple[str, str]) -> bool:
        """Say where the call's media are now; False where it is not up any more."""
        answered = move.call.answered
        caller, callee = (answered.caller, answered.callee) if answered else (None, None)
        if caller is None or callee is None or move.call.started.call not in self._calls.view.up:
            return False
        sides = (
            Side(tag=caller.tag, target=f"<{targets[0]}>"),
            Side(tag=callee.tag, target=f"<{targets[1]}>"),
        )
        self._calls.moved(move.call.started.call, move.media, move.turn, sides)
        log.info("call %s: its media are led to %s", move.call.started.call, move.media)
        return True

    async def _end(self, move: Move) -> None:
        """A party that has left the call has left alone, where the other could not be told."""
        call_id = move.call.started.call
        try:
            answered = self._calls.view.up.get(call_id, move.call).reached
            if call_id in self._calls.view.up:
                await end_call(self._calls, self._rpc, self._settings, call_id, REASON)
            elif answered is not None:
                await hang_up(self._settings, answered, REASON)
        except RpcError as error:
            log.warning("call %s is not ended: %s", call_id, error)


class _UnderWay:
    """One move, until it is settled: once, however it ends."""

    def __init__(self, reanchor: Reanchor, move: Move) -> None:
        self._reanchor, self._move = reanchor, move
        self.code = 0

    def settle(self, code: int) -> None:
        if not self.code:
            self.code = code
            self._reanchor.release(self._move, code)
