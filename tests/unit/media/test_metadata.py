from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from services.media.recording.metadata import (
    About,
    Leg,
    Metadata,
    Stream,
    decode_about,
    encode_about,
    legs,
    read,
    read_name,
    streams,
)

SESSION = (
    "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 8 {opus} 101\r\na=rtpmap:{opus} opus/48000/2\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)
BLOCK = (
    "\nTimestamp started ms: 1795391953031.772\nSDP mode: {mode}\nSDP before RTP packet: 1\n\n{sdp}"
)
END = (
    "\nTimestamp terminated ms(first monologue): 0.000\n\n"
    "call start time: 2026-11-22T23:59:13\ncall end time: 2026-11-22T23:59:14\n\n\n{about}\n"
)


def content(*blocks: tuple[str, int, int], about: str | None = None) -> str:
    text = "/rec/pcaps/x.pcap\n\n"
    for mode, port, opus in blocks:
        text += BLOCK.format(mode=mode, sdp=SESSION.format(port=port, opus=opus))
    return text + (END.format(about=about) if about is not None else "")


@given(st.text(min_size=1, max_size=30), st.integers(0, 2**64 - 1))
def test_names_carry_call_and_id(call: str, number: int) -> None:
    call = call.encode("utf-8", "ignore").decode() or "x"
    found = read_name(f"rtpengine-meta-{quote(call, safe='')}-{number:016x}.tmp")
    assert found is not None
    assert (found.call, found.id) == (call, f"{number:016x}")


def test_other_files_are_no_recordings() -> None:
    for name in ("", "x.txt", "rtpengine-meta-a.tmp", "rtpengine-meta-a-0123456789abcdeg.txt"):
        assert read_name(name) is None


@given(st.builds(About, tenant=st.text(), caller=st.text(), callee=st.text(), tag=st.text()))
def test_what_the_call_manager_says_survives_the_flag(about: About) -> None:
    try:
        encoded = encode_about(about)
    except UnicodeEncodeError:  # a lone surrogate is no text
        return
    assert " " not in encoded
    assert "\n" not in encoded
    assert decode_about(encoded) == about


def test_a_finished_recording() -> None:
    about = About(tenant="sales", caller="+49 1", callee="200&1", tag="f")
    found = read(content(("offer", 2000, 96), ("answer", 2020, 96), about=encode_about(about)))
    assert found.about == about
    assert [mode for mode, _ in found.sessions] == ["offer", "answer"]
    assert found.sessions[1][1].startswith("v=0")
    assert "Timestamp" not in found.sessions[1][1]


@given(st.integers(0, 900))
def test_a_recording_whose_rtpengine_was_killed(cut: int) -> None:
    whole = content(("offer", 2000, 96), ("answer", 2020, 96), about="tenant=x")
    read(whole[:cut])


def test_offers_go_to_the_callee_and_keep_their_side() -> None:
    metadata = read(content(("offer", 2000, 96), ("answer", 2020, 97), ("offer", 2020, 98)))
    found = streams(metadata, ())
    assert found[2000].channel == 1
    assert found[2020].channel == 0
    assert found[2000].codecs[96] == "opus/48000/2"
    assert found[2020].codecs[98] == "opus/48000/2", "a later offer adds its payload types"
    assert found[2020].codecs[97] == "opus/48000/2"


def test_the_callers_tag_decides_where_rtpengine_told_the_tags() -> None:
    sides = (Leg(tag="b", ports={2000: "PCMA/8000"}), Leg(tag="a", ports={2020: ""}))
    metadata = Metadata(about=About(tag="a"), sessions=read(content(("offer", 2020, 96))).sessions)
    found = streams(metadata, sides)
    assert (found[2000].channel, found[2020].channel) == (1, 0)


def test_in_mid_call_the_first_side_is_the_caller_and_the_codec_is_the_one_in_use() -> None:
    sides = (Leg(tag="f", ports={2000: "opus/48000/2"}), Leg(tag="t", ports={2020: "PCMA/8000"}))
    assert streams(Metadata(), sides) == {
        2000: Stream(channel=0, codec="opus/48000/2"),
        2020: Stream(channel=1, codec="PCMA/8000"),
    }


def test_what_rtpengine_says_of_a_call() -> None:
    def side(tag: bytes, created: int, port: int, kind: bytes = b"audio") -> dict[str, object]:
        return {
            "tag": tag,
            "created": created,
            "medias": [
                {
                    "type": kind,
                    "codec": b"PCMA/8000",
                    "streams": [
                        {"local port": port, "flags": [b"RTP", b"filled"]},
                        {"local port": port + 1, "flags": [b"RTCP"]},
                    ],
                }
            ],
        }

    answer = {
        "tags": {
            "t": side(b"t", 9, 2020),
            "f": side(b"f", 8, 2000),
            "v": side(b"v", 10, 2040, b"video"),
        }
    }
    assert legs(answer) == (  # pyright: ignore[reportArgumentType] - as bencode gives it
        Leg(tag="f", ports={2000: "PCMA/8000"}),
        Leg(tag="t", ports={2020: "PCMA/8000"}),
        Leg(tag="v", ports={}),
    )
    assert legs({}) == ()
    assert legs({"tags": {"f": 5}}) == (Leg(tag="", ports={}),)
