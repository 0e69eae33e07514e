"""Offer and answer of one call at a media server, by the agent itself (rtpengine's ng)."""

from __future__ import annotations

from typing import Any

from services.call_manager.calls import Call
from services.call_manager.reanchoring import kinds
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing.media_profile import RECORDED, TRANSCODED, Kind
from services.call_manager.routing.route_signature import Side
from services.core.ng import Ng, text

PATIENCE = 1.0
"""Seconds for a command."""


class MediaExchange:
    """A call's session, made anew. ``first`` is the party that makes the offer.

    All raise NgError.
    """

    def __init__(self, ng: Ng, call: Call, first: Side) -> None:
        answered = call.answered
        letters = kinds(call).ljust(2, "p")
        caller = call.started.tag, _kind(letters[0])
        callee = answered.callee.tag if answered and answered.callee else "", _kind(letters[1])
        self._ng = ng
        self._call = call
        self._first, self._second = (caller, callee) if first == "caller" else (callee, caller)
        self._caller_is_told = first == "callee"

    async def offer(self, sdp: str) -> str:
        """What the second party is to be offered; what the server had of the call is forgotten.

        It may have a copy of the session that was lost, without what made it work.
        """
        call, answered = self._call, self._call.answered
        started = call.started
        record = ""
        if RECORDED in kinds(call):
            by = answered.by if answered else ""
            record = profile.recording(started.tag, started.tenant, started.caller, by)
        if self._caller_is_told and answered is not None:
            # A browser's streams keep their names (RFC 9429 section 5.10).
            sdp = profile.with_media_id(sdp, answered.mid)
        everything = TRANSCODED in kinds(call)
        flags = profile.reoffer(self._second[1], sdp, everything=everything) + record
        await self._ask("delete", {"delete-delay": 0})
        return await self._ask("offer", {"sdp": sdp, **profile.parameters(flags)})

    async def answer(self, sdp: str) -> str:
        """What the first party is answered."""
        flags = profile.answer(self._first[1])
        about = {"to-tag": self._second[0], "sdp": sdp, **profile.parameters(flags)}
        return await self._ask("answer", about)

    async def _ask(self, command: str, about: dict[str, Any]) -> str:
        tags = {"call-id": self._call.started.call, "from-tag": self._first[0]}
        answer = await self._ng.command(command, {**tags, **about}, deadline=PATIENCE)
        return text(answer.get("sdp"))


def _kind(letter: str) -> Kind:
    return letter if letter in ("s", "w") else "p"  # type: ignore[return-value]  # just tested
