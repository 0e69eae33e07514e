"""What a probe says of what it found: a table of causes and the words for them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxctl.probe.audio import PERIOD, Heard
from pbxctl.probe.protocol import Registered, Stream
from pbxctl.probe.report import (
    Account,
    Direction,
    Report,
    Target,
    Trial,
    audio_problems,
    call_problem,
    direction,
    mouth_to_ear,
    registration_problem,
)

ANNA = Account(username="2001", password="not to be told", domain="acme.example")
WHERE = "sip:pbx.example:5060;transport=udp"
STREAM = Stream(call=1, time=0)
GOOD = Heard(
    likeness=0.99, coverage=1, longest_gap=0, gaps=0, slips=0, level=-12, duration=4, offset=0.0
)
WAY = Direction(
    speaker="2001", listener="2002", likeness=0.99, coverage=1, longest_gap=0, level=-12,
    received=200, lost=0, jitter=0.001, first_audio=0.05, delay=0.03,
)  # fmt: skip
BACK = msgspec.structs.replace(WAY, speaker="2002", listener="2001")
DEAF = {"coverage": 0.0, "likeness": 0.0, "longest_gap": 4000.0, "first_audio": None}


@pytest.mark.parametrize(
    ("code", "text", "connection", "expected"),
    [
        (401, "Unauthorized", "", "401 twice: the password is wrong"),
        (407, "", "", "401 twice: the password is wrong"),
        (403, "Forbidden", "", "403 Forbidden: the user may not register, or this address is ban"),
        (404, "", "", "404: the PBX knows no such user, or no such domain"),
        (408, "", "", "no answer: nothing listens there, or a firewall drops what is sent"),
        (502, "Operation cancelled (PJ_ECANCELLED)", "Connection refused", "cannot connect: Conn"),
        (503, "", "The certificate is untrusted; (PJSIP_TLS_ECERTVERIF)", "certificate is not acc"),
        (503, "Service Unavailable", "", "503 Service Unavailable"),
        (600, "Busy Everywhere", "", "600 Busy Everywhere"),
    ],
)
def test_why_a_registration_failed(code: int, text: str, connection: str, expected: str) -> None:
    answer = Registered(time=0, code=code, text=text, expires=0)
    said = registration_problem(answer, ANNA, WHERE, connection)
    assert said.startswith(f"sip:2001@acme.example at {WHERE}: ")
    assert expected in said
    assert ANNA.password not in said


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (404, "no such user"),
        (408, "no answer from the PBX or from the phone called"),
        (480, "it is not registered, or does not disturb"),
        (486, "486 Some Words"),
        (488, "no codec in common"),
        (503, "overloaded, or has no media server"),
    ],
)
def test_why_a_call_was_not_answered(code: int, expected: str) -> None:
    said = call_problem(code, "Some Words", ANNA)
    assert said.startswith("call to 2001: ")
    assert expected in said


def test_good_audio_is_no_problem() -> None:
    assert audio_problems((WAY, BACK)) == ()


def test_one_way_audio_is_named_by_direction() -> None:
    deaf = msgspec.structs.replace(BACK, received=0, **DEAF)
    assert audio_problems((WAY, deaf)) == (
        "one-way audio: 2001 does not hear 2002: no RTP packet came: "
        "look for a firewall or a wrong media address",
    )


def test_no_audio_at_all_is_named_both_ways() -> None:
    problems = audio_problems(tuple(msgspec.structs.replace(w, **DEAF) for w in (WAY, BACK)))
    assert len(problems) == 2
    assert all(problem.startswith("no audio: ") for problem in problems)
    assert "packets came, but not what was sent" in problems[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"first_audio": 3.2}, "it began 3.2 s after the answer"),
        ({"longest_gap": 480.0, "coverage": 0.88}, "a gap of 480 ms"),
        ({"coverage": 0.9, "longest_gap": 60.0}, "10% of it is missing"),
        ({"likeness": 0.4}, "distorted, likeness 0.40 of 1"),
    ],
)
def test_bad_audio_says_what_is_bad(change: dict[str, float], expected: str) -> None:
    problems = audio_problems((msgspec.structs.replace(WAY, **change), BACK))
    assert problems == (f"audio from 2001 to 2002: {expected}",)


@given(delay=st.floats(0, 3.0), recording=st.floats(0, 1e6), begun=st.floats(-100, 100))
def test_the_delay_is_the_same_whenever_the_recording_began(
    delay: float, recording: float, begun: float
) -> None:
    playing = recording + begun
    offset = (playing + delay - recording) % PERIOD
    found = mouth_to_ear(msgspec.structs.replace(GOOD, offset=offset), recording, playing)
    assert found == pytest.approx(delay, abs=1e-6)


def test_a_clock_that_is_a_little_ahead_is_no_delay_of_a_whole_period() -> None:
    found = mouth_to_ear(msgspec.structs.replace(GOOD, offset=PERIOD - 0.01), 100.0, 100.0)
    assert found == pytest.approx(-0.01)


def test_first_audio_counts_from_the_answer() -> None:
    heard = msgspec.structs.replace(GOOD, first=2.5)
    way = direction("a", "b", heard, STREAM, answered=12.0, recording=10.0, playing=9)
    assert way.first_audio == pytest.approx(0.5)
    early = direction("a", "b", heard, STREAM, answered=13, recording=10, playing=9)
    assert early.first_audio == 0


def test_where_to_send_by_transport() -> None:
    target = Target(host="pbx.example")
    assert target.uri("udp") == "sip:pbx.example:5060;transport=udp"
    assert target.uri("tls") == "sip:pbx.example:5061;transport=tls"
    assert Target(host="fd00::1").uri("tcp") == "sip:[fd00::1]:5060;transport=tcp"


def test_a_report_is_good_if_every_trial_is() -> None:
    good, bad = Trial(transport="udp"), Trial(transport="tls", problems=("x",))
    assert Report(host="h", caller="a", callee="b", trials=(good,)).ok
    assert not Report(host="h", caller="a", callee="b", trials=(good, bad)).ok
