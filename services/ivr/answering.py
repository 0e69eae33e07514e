"""Calls that come in."""

from __future__ import annotations

import time

import trio

from services.core import passport
from services.core.audio import CapacityError
from services.core.configuration import Destination
from services.core.passport import Passport
from services.core.sip import Invitation, MalformedError, sdp
from services.ivr.call import State as CallState
from services.ivr.ears import CODECS, Ears
from services.ivr.health import CHECK
from services.ivr.menu import Machine
from services.ivr.server import Server
from services.ivr.session import Session
from services.ivr.status import State


class Answering:
    """``state`` counts the calls."""

    def __init__(self, server: Server, state: State) -> None:
        self._server = server
        self._state = state

    async def answer(self, invitation: Invitation) -> None:
        """One call: only what a Call Manager has signed, and only as many as there is room for."""
        plane = self._server.plane
        value = invitation.headers.get(passport.HEADER)
        call_id = invitation.call.call_id
        ticket = passport.unseal(self._server.key, "serve", call_id, value, time.time())
        if ticket is None:
            invitation.reject(403, "Not Signed for This Call")
            return
        checking = not ticket.tenant and ticket.target == CHECK
        if self._state.left and not checking:
            invitation.reject(503, "IVR Server Is Leaving")
            return
        if self._state.calls >= self._state.capacity and not checking:
            invitation.reject(503, "IVR Server Is Full")
            return
        try:
            with plane.leg() as leg:
                ears = Ears(leg, invitation.call)
                text, agreed = sdp.offer(leg.address, leg.port, CODECS), None
                if invitation.offer is not None:
                    text, agreed = sdp.answer(invitation.offer, leg.address, leg.port, CODECS)
                    ears.connect(agreed, still=True)  # who cannot be heard is not answered
                async with invitation.accept(text) as call:
                    agreed = agreed or await ears.late_answer()
                    if agreed is None:
                        return
                    ears.connect(agreed)
                    call.answers = ears.answer
                    if checking:
                        leg.play(plane.beep(), loop=True)
                        await trio.sleep_forever()
                    await self._serve(ears, ticket)
        except CapacityError:
            invitation.reject(503, "No Audio Is Left")
        except MalformedError:
            invitation.reject(488)

    async def _serve(self, ears: Ears, ticket: Passport) -> None:
        server = self._server
        self._state.calls += 1
        self._state.served += 1
        try:
            machine = Machine(server.book(ticket.tenant), _state(ears.call.call_id, ticket, server))
            session = Session(server, machine, ears, ticket)
            await session.run(Destination(kind=ticket.kind, target=ticket.target))
        finally:
            self._state.calls -= 1


def _state(call_id: str, ticket: Passport, server: Server) -> CallState:
    caller = ticket.extension or ticket.caller
    return CallState(
        call=call_id,
        tenant=ticket.tenant,
        language=server.book(ticket.tenant).language,
        user=ticket.extension,
        variables={"caller": "" if ticket.anonymous else caller, "called": ticket.called},
    )
