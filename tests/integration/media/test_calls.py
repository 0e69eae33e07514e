"""What a Call Manager asks of rtpengine 10.5, flags and all, judged by what the phones hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from services.core.ng import Ng
from services.media import sdp
from tests.integration.media.media_server import MediaServer, only_rtpengine
from tests.integration.media.phone import Call, Phone, both_talk, phone
from tests.integration.media.sound import hears

Engine = tuple[MediaServer, Ng]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with only_rtpengine() as found:
        yield found


def addresses(engine: Engine) -> tuple[str, str]:
    return f"{engine[0].network}.11", f"{engine[0].network}.12"


def assert_both_hear(caller: Phone, callee: Phone) -> None:
    for listener, frequency in ((callee, 440), (caller, 1000)):
        rate = 8000 if listener.codec.startswith("PCM") else 16000
        sound = listener.heard(rate)
        assert len(sound) > 0.7 * rate
        assert hears(sound[rate // 4 :], rate, frequency), listener.codec


async def test_g711_passes_as_it_is(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a) as caller, phone(b) as callee:
        await Call(engine[1]).connect(caller, callee)
        await both_talk(caller, callee)
        assert_both_hear(caller, callee)
        assert {p.payload_type for p in callee.received} == {8}


SRTP: dict[str, Any] = {
    "transport-protocol": "RTP/SAVP",
    # A phone that is offered both takes DTLS, and then shows no padlock or no sound.
    "DTLS": "off",
    # 10.5 offers them all, one that encrypts nothing among them; it has no "only-" flags.
    "SDES": [
        "no-NULL_HMAC_SHA1_80",
        "no-NULL_HMAC_SHA1_32",
        "no-F8_128_HMAC_SHA1_80",
        "no-F8_128_HMAC_SHA1_32",
    ],
}


async def test_rtp_to_srtp_by_sdes_and_back(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a) as caller, phone(b, secure=True) as callee:
        call = Call(engine[1])
        offered = await call.offer(caller, **SRTP)
        assert " RTP/SAVP " in offered
        assert "NULL" not in offered
        assert "fingerprint" not in offered
        callee.take(offered)
        answered = await call.answer(callee, **{"transport-protocol": "RTP/AVP"})
        assert "crypto" not in answered
        caller.take(answered)
        await both_talk(caller, callee)
        assert_both_hear(caller, callee)


async def test_srtp_to_rtp_by_sdes_and_back(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a, secure=True) as caller, phone(b) as callee:
        call = Call(engine[1])
        offered = await call.offer(caller, **{"transport-protocol": "RTP/AVP"})
        assert "crypto" not in offered
        callee.take(offered)
        caller.take(await call.answer(callee, **SRTP))
        await both_talk(caller, callee)
        assert_both_hear(caller, callee)


WEBRTC: dict[str, Any] = {
    "transport-protocol": "UDP/TLS/RTP/SAVPF",
    "ICE": "force",
    "DTLS": "passive",
    "rtcp-mux": ["offer"],
    "flags": ["trust-address", "generate-mid", "SDES-off"],
    "SDES": ["off"],
}


async def test_an_offer_to_a_browser_has_what_webrtc_needs(engine: Engine) -> None:
    a, _ = addresses(engine)
    async with phone(a) as caller:
        offered = await Call(engine[1]).offer(
            caller, **WEBRTC, codec={"transcode": ["opus", "PCMU"]}
        )
    assert "m=audio" in offered
    assert "UDP/TLS/RTP/SAVPF" in offered
    for needed in ("a=ice-ufrag:", "a=fingerprint:sha-256", "a=rtcp-mux", "a=candidate:", "a=mid:"):
        assert needed in offered, offered
    assert "a=setup:actpass" in offered or "a=setup:passive" in offered
    assert "a=crypto" not in offered
    media = sdp.audio(offered)
    assert media is not None
    assert "opus/48000/2" in media.codecs.values()


async def test_a_browsers_offer_becomes_plain_rtp(engine: Engine) -> None:
    a, b = addresses(engine)
    browser = (
        f"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
        f"m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126\r\nc=IN IP4 {a}\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\n"
        f"a=candidate:1 1 udp 2122260223 {a} 40000 typ host\r\n"
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\na=mid:0\r\n"
        "a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n"
        "a=rtpmap:8 PCMA/8000\r\na=rtpmap:126 telephone-event/8000\r\n"
    )
    async with phone(a, "opus") as caller, phone(b) as callee:
        call = Call(engine[1])
        offered = await call.offer(
            caller,
            browser,
            **{"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": ["demux"]},
        )
        assert "RTP/AVP " in offered
        for gone in ("ice-ufrag", "fingerprint", "candidate", "rtcp-mux", "crypto"):
            assert gone not in offered, offered
        answered = await call.answer(callee, **{"transport-protocol": "UDP/TLS/RTP/SAVPF"})
        for needed in ("a=ice-ufrag:", "a=fingerprint:", "a=setup:", "a=rtcp-mux", "a=candidate:"):
            assert needed in answered, answered


@pytest.mark.parametrize("codec", ["opus", "G722"])
async def test_transcoding_from_g711(engine: Engine, codec: str) -> None:
    a, b = addresses(engine)
    payload_type = 9 if codec == "G722" else None
    async with phone(a) as caller, phone(b, codec, payload_type=payload_type) as callee:
        call = Call(engine[1])
        offered = await call.offer(caller, codec={"transcode": [codec]})
        media = sdp.audio(offered)
        assert media is not None
        number = next(k for k, v in media.codecs.items() if v.startswith(codec))
        callee.payload_type = number
        callee.take(offered)
        caller.take(await call.answer(callee))
        await both_talk(caller, callee)
        assert {p.payload_type for p in caller.received} == {8}
        assert number in {p.payload_type for p in callee.received}
        assert_both_hear(caller, callee)


async def test_nothing_is_transcoded_where_both_have_the_codec(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a) as caller, phone(b) as callee:
        call = Call(engine[1])
        callee.take(await call.offer(caller, codec={"transcode": ["opus"]}))
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 0.5)
        load = await engine[1].command("statistics")
        assert isinstance(load["statistics"], dict)
        current = load["statistics"]["currentstatistics"]
        assert isinstance(current, dict)
        assert current["transcodedmedia"] == 0


async def test_telephone_events_pass(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a) as caller, phone(b) as callee:
        await Call(engine[1]).connect(caller, callee)
        await caller.talk(440, 0.2)
        for step in range(5):  # digit 5, RFC 4733: one timestamp, growing duration
            await caller.send(
                bytes([5, 10 | (0x80 if step == 4 else 0)]) + ((step + 1) * 160).to_bytes(2, "big"),
                payload_type=101,
                marker=step == 0,
                advance=False,
            )
            await trio.sleep(0.02)
        await trio.sleep(0.1)
        events = [p for p in callee.received if p.payload_type == 101]
        assert len(events) == 5
        assert {p.payload[0] for p in events} == {5}
        assert events[0].marker
        assert events[-1].payload[1] & 0x80


async def test_telephone_events_pass_beside_transcoding(engine: Engine) -> None:
    a, b = addresses(engine)
    async with phone(a) as caller, phone(b, "opus") as callee:
        call = Call(engine[1])
        offered = await call.offer(caller, codec={"transcode": ["opus"]})
        media = sdp.audio(offered)
        assert media is not None
        codecs = {v: k for k, v in media.codecs.items()}
        callee.payload_type = codecs["opus/48000/2"]
        event = codecs.get("telephone-event/48000") or codecs["telephone-event/8000"]
        callee.take(offered)
        caller.take(
            await call.answer(
                callee,
                callee.offer(
                    codecs={callee.payload_type: "opus/48000/2", event: media.codecs[event]}
                ),
            )
        )
        await caller.talk(440, 0.3)
        for step in range(5):
            await caller.send(
                bytes([5, 10 | (0x80 if step == 4 else 0)]) + ((step + 1) * 160).to_bytes(2, "big"),
                payload_type=101,
                marker=step == 0,
                advance=False,
            )
            await trio.sleep(0.02)
        await caller.talk(440, 0.1)
        await trio.sleep(0.1)
        assert {p.payload[0] for p in callee.received if p.payload_type == event} == {5}
