"""A call's sound: its leg of the audio plane, kept where the session description says."""

from __future__ import annotations

import trio

from services.core.audio import Leg
from services.core.sip import Call, CallRefusedError, MalformedError, sdp

CODECS = (sdp.PCMA, sdp.PCMU)
AGAIN = (0.3, 0.6, 1.2)
"""Seconds until a caller is told once more where we are, whose media server is not there yet."""
LATE_ANSWER = 4.0
"""Seconds for the answer in the ACK, where the INVITE had no offer."""


class Ears:
    """``leg`` hears and speaks in ``call``."""

    def __init__(self, leg: Leg, call: Call) -> None:
        self.leg = leg
        self.call = call
        self._agreed: sdp.Agreed | None = None

    def connect(self, agreed: sdp.Agreed, *, still: bool = False) -> None:
        """Exchange sound as it was agreed; ``still``: send nothing, not even silence.

        Raises MalformedError for an address with which nobody can, or another call does.
        """
        try:
            self.leg.connect(
                agreed.address,
                agreed.port,
                codec="PCMA/8000" if agreed.codec == sdp.PCMA else "PCMU/8000",
                payload_type=agreed.payload,
                events_payload_type=agreed.events,
                send=not still and agreed.direction in ("sendrecv", "sendonly"),
                receive=agreed.direction in ("sendrecv", "recvonly"),
            )
        except ValueError as error:
            raise MalformedError(str(error)) from None
        self._agreed = agreed

    def be_still(self, *, still: bool) -> None:
        """Somebody else sends in our place, or does so no more.

        Two who send to one port of a media server are a stream that nobody can follow.
        """
        if self._agreed is not None:
            self.connect(self._agreed, still=still)

    def answer(self, offer: str) -> str:
        """The answer to an offer inside the call: hold, resume, another address.

        Raises MalformedError for what cannot be had.
        """
        text, agreed = sdp.answer(offer, self.leg.address, self.leg.port, CODECS)
        self.connect(agreed)
        return text

    async def move(self) -> None:
        """Tell the caller's side that his sound is here from now on, and exchange it.

        Raises SipError; a call that is over by then is cancelled.
        """
        leg, before = self.leg, sdp.audio(self.call.local_sdp)
        used = () if before is None else before.codecs.values()
        codecs = tuple(codec for codec in CODECS if codec in used) or CODECS
        answer = await self._offer(sdp.offer(leg.address, leg.port, codecs))
        agreed = sdp.agreed(self.call.local_sdp, answer)
        if agreed is None:
            raise MalformedError("the caller's side has no sound for us any more")
        self.connect(agreed)
        self.call.answers = self.answer

    async def _offer(self, offer: str) -> str:
        for pause in AGAIN:
            try:
                return await self.call.reinvite(offer)
            except CallRefusedError as error:
                if error.status < 500:
                    raise
            await trio.sleep(pause)
        return await self.call.reinvite(offer)

    async def late_answer(self) -> sdp.Agreed | None:
        """What the caller answers to our offer in his ACK; None if he does not."""
        with trio.move_on_after(LATE_ANSWER):
            while not self.call.remote_sdp:  # noqa: ASYNC110 - seldom, and soon over
                await trio.sleep(0.02)
            return sdp.agreed(self.call.local_sdp, self.call.remote_sdp)
        return None
