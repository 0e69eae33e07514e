"""Kinds of media, codecs, and the choice of a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import media_profile as profile
from services.call_manager.routing.server_choice import choose
from services.call_manager.tables import MediaServer


def sdp(protocol: str, formats: str = "8", extra: str = "") -> str:
    return f"v=0\r\nm=audio 4000 {protocol} {formats}\r\n{extra}"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (sdp("RTP/AVP"), "p"),
        (sdp("RTP/SAVP", extra="a=crypto:1 x\r\n"), "s"),
        (sdp("UDP/TLS/RTP/SAVPF", extra="a=fingerprint:x\r\n"), "w"),
        (sdp("RTP/SAVPF", extra="a=fingerprint:x\r\n"), "w"),
        ("", "p"),
    ],
)
def test_kind_of_sdp(text: str, kind: str) -> None:
    assert profile.kind_of_sdp(text) == kind


@pytest.mark.parametrize(
    ("uri", "destination", "kind"),
    [
        ("sip:1@h", "", "p"),
        ("sip:1@h;transport=tcp", "", "p"),
        ("sip:1@h;transport=TLS", "", "s"),
        ("sips:1@h", "", "s"),
        ("sip:1@h.invalid;transport=ws", "", "w"),
        ("sip:1@h", "sip:10.0.0.1:5;transport=wss", "w"),
    ],
)
def test_kind_of_uri(uri: str, destination: str, kind: str) -> None:
    assert profile.kind_of_uri(uri, destination) == kind


def test_codecs() -> None:
    text = sdp(
        "RTP/AVP", "8 0 96 101", "a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
    assert profile.audio_codecs(text) == {"pcma", "pcmu", "opus", "telephone-event"}


@pytest.mark.parametrize(
    ("codecs", "everything", "added"),
    [
        ({"pcma"}, False, ""),
        ({"pcmu", "opus"}, False, ""),
        ({"opus"}, False, " transcode-PCMA transcode-PCMU"),
        ({"g722"}, False, " transcode-PCMA transcode-PCMU"),
        ({"pcma"}, True, " transcode-PCMU transcode-G722 transcode-opus"),
    ],
)
def test_transcoding_only_where_needed(codecs: set[str], everything: bool, added: str) -> None:
    assert profile.transcoding(frozenset(codecs), everything=everything) == added


def test_srtp_is_never_offered_without_encryption() -> None:
    flags = profile.offer("s", sdp("RTP/AVP")).split()
    assert {"SDES-no-NULL_HMAC_SHA1_80", "SDES-no-NULL_HMAC_SHA1_32"} <= set(flags)


@given(st.text(max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_metadata_is_one_flag(tag: str, caller: str, callee: str) -> None:
    flags = profile.recording(tag, "sales", caller, callee)
    assert flags.count(" ") == 2


def server(name: str, capacity: int = 100, state: str = "up") -> MediaServer:
    return MediaServer(name=name, set=1, control="", announce="", capacity=capacity, state=state)  # type: ignore[arg-type]


def test_media_that_cannot_be_anchored_is_refused_stream_by_stream() -> None:
    text = sdp(
        "RTP/SAVP", "8 101", "c=IN IP4 10.1.1.1\r\na=candidate:1 1 udp 1 10.1.1.1 5 typ host\r\n"
    )
    refused = profile.without_media(text + "m=video 5000/2 RTP/AVP 96\r\n")
    assert "10.1.1.1" not in refused
    assert refused.split("\r\n")[-3:] == ["m=audio 0 RTP/SAVP 8 101", "m=video 0 RTP/AVP 96", ""]


def test_the_least_loaded_by_capacity() -> None:
    servers = [server("small", 10), server("large", 100)]
    loads = {"small": 2, "large": 15}
    chosen = choose(servers, loads.__getitem__, lambda _: False)
    assert chosen is servers[1]


@pytest.mark.parametrize("state", ["draining", "disabled", "down"])
def test_who_gets_no_calls(state: str) -> None:
    assert choose([server("a", state=state)], lambda _: 0, lambda _: False) is None
    assert choose([server("a")], lambda _: 100, lambda _: False) is None
    assert choose([server("a")], lambda _: 0, lambda _: True) is None
    assert choose([server("a", 0)], lambda _: 0, lambda _: False) is None


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.booleans()), max_size=8),
)
def test_the_choice_is_eligible_and_least(given_servers: list[tuple[int, int, bool]]) -> None:
    servers = [server(str(i), capacity) for i, (capacity, _, _) in enumerate(given_servers)]
    chosen = choose(servers, lambda n: given_servers[int(n)][1], lambda n: given_servers[int(n)][2])
    eligible = [
        load / capacity
        for capacity, load, out in given_servers
        if capacity and load < capacity and not out
    ]
    assert (chosen is None) == (not eligible)
    if chosen is not None:
        capacity, load, _ = given_servers[int(chosen.name)]
        assert load / capacity == min(eligible)


@pytest.mark.parametrize(
    ("offered", "answered", "found"),
    [
        ("8 0", "0 8", False),
        ("0", "8", True),
        ("9", "9", False),
        ("0 101", "101", False),
        ("0", "", False),
    ],
)
def test_a_call_is_transcoded_if_its_answer_was_not_offered(
    offered: str, answered: str, *, found: bool
) -> None:
    answer = sdp("RTP/AVP", answered) if answered else ""
    assert profile.is_transcoded(sdp("RTP/AVP", offered), answer) == found
    assert not profile.is_transcoded(None, answer)
    opus = "a=rtpmap:111 opus/48000/2\r\n"
    assert profile.is_transcoded(sdp("RTP/AVP", "0"), sdp("RTP/AVP", "111", opus))
    other = sdp("RTP/AVP", "96", opus.replace("111", "96"))
    assert not profile.is_transcoded(other, sdp("RTP/AVP", "111", opus))


def test_a_later_offer_leaves_transcoding_possible() -> None:
    assert " transcode-PCMA" in profile.reoffer("p", sdp("RTP/AVP", "0"))
    assert "transcode" not in profile.reoffer("p", sdp("RTP/AVP", "0 8"))
    flags = profile.reoffer("p", sdp("RTP/AVP", "9"), everything=True)
    assert flags.count("transcode-PCMA") == flags.count("transcode-PCMU") == 1
    assert "transcode" not in profile.reoffer("p", "")


def test_streams_are_taken_without_being_used() -> None:
    answer = profile.inactive(sdp("RTP/SAVP", "8 101"))
    assert answer.endswith("m=audio 9 RTP/SAVP 8\r\na=inactive\r\n")


def test_flags_are_said_as_rtpengine_has_them() -> None:
    flags = profile.offer("w", sdp("RTP/AVP", "9"), record=" record-call=on metadata=a%3Db")
    found = profile.parameters(flags)
    assert found["replace"] == ["origin", "session-connection"]
    assert (found["transport-protocol"], found["ICE"]) == ("UDP/TLS/RTP/SAVPF", "force")
    assert found["rtcp-mux"] == ["offer"]
    assert found["flags"] == ["SDES-off", "generate-mid", "transcode-PCMA", "transcode-PCMU"]
    assert (found["record call"], found["metadata"]) == ("on", "a%3Db")
    assert "SDES-no-NULL_HMAC_SHA1_80" in profile.parameters(profile.offer("s", ""))["flags"]


def test_a_stream_keeps_its_name() -> None:
    plain = sdp("RTP/AVP", "8", "a=sendrecv\r\n")
    named = profile.with_media_id(plain, "0")
    assert named == f"{plain}a=mid:0\r\n"
    assert profile.media_id(named) == "0"
    assert profile.media_id(plain) == ""
    assert profile.with_media_id(named, "1") == named
    assert profile.with_media_id(plain, "") == plain
    two = profile.with_media_id(f"{plain}m=video 5000 RTP/AVP 96\r\na=x\r\n", "0")
    assert two == f"{named}m=video 5000 RTP/AVP 96\r\na=x\r\n"
    assert profile.with_media_id(plain.rstrip(), "0") == named
