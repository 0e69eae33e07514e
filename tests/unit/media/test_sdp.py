from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.media import sdp
from services.media.announcement.service import answer

BROWSER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 111 0 8 101\r\nc=IN IP4 192.0.2.7/127\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\na=recvonly\r\n"
    "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=inactive\r\n"
)


def test_the_audio_section_and_nothing_of_the_others() -> None:
    found = sdp.audio(BROWSER)
    assert found == sdp.Audio(
        address="192.0.2.7",
        port=4000,
        payloads=(111, 0, 8, 101),
        codecs={
            0: "PCMU/8000",
            8: "PCMA/8000",
            111: "opus/48000/2",
            101: "telephone-event/8000",
        },
        direction="recvonly",
        ptime=30,
    )


def test_written_and_read_again() -> None:
    said = sdp.describe(address="2001:db8::1", port=5000, codecs={8: "PCMA/8000"})
    found = sdp.audio(said)
    assert found is not None
    assert (found.address, found.port, found.codecs) == ("2001:db8::1", 5000, {8: "PCMA/8000"})


@given(st.text(max_size=300) | st.text(alphabet="mca=udio 0189:/.\r\nrtpmap", max_size=300))
def test_anything_may_come(text: str) -> None:
    found = sdp.audio(text)
    assert found is None or 0 <= found.port <= 65535


def test_an_announcement_answers_every_section_and_takes_the_first_g711() -> None:
    answered = answer(BROWSER, "10.0.0.1", 7000)
    assert answered is not None
    said, media = answered
    assert (media.payload, str(media.codec), media.port) == (0, "PCMU/8000", 4000)
    lines = [line for line in said.splitlines() if line.startswith("m=")]
    assert lines == ["m=audio 7000 RTP/AVP 0 101", "m=video 0 RTP/AVP 96"]
    assert "a=sendonly" in said


def test_no_announcement_without_g711_or_for_who_does_not_listen_or_over_srtp() -> None:
    for changed in (
        "",
        BROWSER.replace(" 0 8", ""),
        BROWSER.replace("recvonly", "sendonly"),
        BROWSER.replace("m=audio 4000 RTP/AVP", "m=audio 4000 RTP/SAVP"),
        BROWSER.replace("m=audio 4000", "m=audio 0"),
    ):
        assert answer(changed, "10.0.0.1", 7000) is None
