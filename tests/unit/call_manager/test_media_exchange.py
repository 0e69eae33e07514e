"""What a media server is told when the agent leads a call's media to it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.call_manager.calls import Call
from services.call_manager.media_exchange import MediaExchange
from services.call_manager.routing.route_signature import Side as Party
from services.core.events import Answered, Side, Started
from services.core.ng import Ng

COMMON: dict[str, Any] = {"call": "c", "server": "cm1", "tenant": "sales", "time": 0.0}
SDP = "v=0\r\nm=audio 4000 RTP/AVP 8\r\n"


class Asked:
    """In a media server's place: what it was asked, in order."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []

    async def command(
        self, command: str, parameters: dict[str, Any], *, deadline: float
    ) -> dict[str, Any]:
        assert deadline > 0
        self.commands.append((command, parameters))
        return {"result": b"ok", "sdp": command.encode()}


def exchange(kinds: str, first: Party) -> tuple[MediaExchange, Asked]:
    started = Started(
        id="s", direction="internal", caller="2001", callee="2002", tag="from", **COMMON
    )
    side = Side(tag="to", target="<sip:x>")
    answered = Answered(id="a", by="2003", kinds=kinds, mid="0", callee=side, **COMMON)
    asked = Asked()
    return MediaExchange(cast("Ng", asked), Call(started=started, answered=answered), first), asked


@pytest.mark.parametrize(
    ("first", "tags", "mid", "protocols"),
    [
        ("callee", ("to", "from"), True, ("UDP/TLS/RTP/SAVPF", "remove")),
        ("caller", ("from", "to"), False, ("RTP/AVP", "force")),
    ],
)
async def test_the_first_offers_and_the_second_answers(
    first: Party, tags: tuple[str, str], mid: bool, protocols: tuple[str, str]
) -> None:
    session, asked = exchange("wp", first)
    assert await session.offer(SDP) == "offer"
    assert await session.answer(SDP) == "answer"
    (gone, _), (offered, offer), (answered, answer) = asked.commands
    assert (gone, offered, answered) == ("delete", "offer", "answer")
    assert (offer["call-id"], offer["from-tag"]) == ("c", tags[0])
    assert (answer["from-tag"], answer["to-tag"]) == tags
    assert ("a=mid:0" in offer["sdp"]) == mid
    assert (offer["transport-protocol"], answer["ICE"]) == protocols
    assert "record call" not in offer


async def test_it_is_recorded_and_transcoded_as_before() -> None:
    session, asked = exchange("pptr", "caller")
    await session.offer(SDP)
    _, offer = asked.commands[1]
    assert offer["record call"] == "on"
    assert offer["metadata"] == "tenant=sales&caller=2001&callee=2003&tag=from"
    assert {"transcode-opus", "transcode-PCMU"} <= set(offer["flags"])
