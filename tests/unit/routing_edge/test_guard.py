"""guard.py: rates, bans, scanners, messages that no user agent sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import guard
from services.core.configuration import FailedAuth, RateLimit


def message(**changes: object) -> guard.Message:
    fields = {
        "ruri": "sip:1002@sales.example",
        "from_uri": "sip:1001@sales.example",
        "to_uri": "sip:1002@sales.example",
        "call_id": "3848276298220188511@192.0.2.1",
        "size": 900,
        "head": "INVITE sip:1002@sales.example SIP/2.0\r\nUser-Agent: phone/1\r\n",
    } | changes
    return guard.Message(**fields)  # type: ignore[arg-type]  # each test changes one field


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"size": 65536}, 513),
        ({"head": "X: y\r\n" * (guard.MAX_LINES + 1)}, 400),
        ({"head": "X: \0\r\n"}, 400),
        ({"ruri": "soap.beep://192.0.2.103:3002"}, 416),
        ({"ruri": "nobodyKnowsThisScheme:totallyopaquecontent"}, 416),
        ({"ruri": "<sip:user@example.com>"}, 400),
        ({"ruri": "tel:+4930123"}, None),
        ({"ruri": "sips:1001@sales.example"}, None),
        ({"ruri": "sip:1001%0d%0aX-Evil:1@sales.example"}, 400),
        ({"from_uri": "sip:a%0Ab@sales.example"}, 400),
        ({"to_uri": "sip:null-%00-null@example.com"}, None),
        ({"ruri": "sip:user%20name@sales.example"}, None),
        ({"call_id": "a" * guard.MAX_CALL_ID}, None),
        ({"call_id": "a" * (guard.MAX_CALL_ID + 1)}, 400),
        ({"call_id": "<" * (guard.MAX_CALL_ID // 3 + 1)}, 400),
        ({"call_id": "🕿" * (guard.MAX_CALL_ID // 12 + 1)}, 400),
    ],
)
def test_inspect(changes: dict[str, object], code: int | None) -> None:
    refusal = guard.inspect(message(**changes), 65535)
    assert (refusal.code if refusal else None) == code


@pytest.mark.parametrize(
    "agent", ["friendly-scanner", "sipvicious/0.3", "SIPCLI/v1.8", "VaxSIPUserAgent/3.1"]
)
def test_scanners(agent: str) -> None:
    assert guard.is_scanner(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "Yealink SIP-T46S 66.84.0.15",
        "Grandstream GXP2135",
        "baresip v1.0.0",
        "PolycomVVX",
        "Asterisk PBX 20",
    ],
)
def test_phones_are_no_scanners(agent: str) -> None:
    assert not guard.is_scanner(agent)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("nonsense", "nonsense"),
    ],
)
def test_source_key(address: str, key: str) -> None:
    assert guard.source_key(address) == key


def test_trusted() -> None:
    trusted = guard.Trusted(("10.0.0.0/8", "2001:db8::/32"))
    assert "10.1.2.3" in trusted
    assert "[2001:db8::1]" in trusted
    assert "192.0.2.1" not in trusted
    assert "nonsense" not in trusted
    assert "10.1.2.3" not in guard.Trusted(())


@given(st.integers(1, 500), st.integers(0, 500), st.lists(st.floats(0, 0.2), max_size=400))
def test_meter_never_gives_more_than_rate_and_burst(
    rate: int, burst: int, gaps: list[float]
) -> None:
    due, now, allowed = 0.0, 1000.0, 0
    for gap in gaps:
        now += gap
        kept = guard.meter(due, now, rate, burst)
        if kept is not None:
            due, allowed = kept, allowed + 1
    assert allowed <= burst + 1 + rate * (now - 1000.0) + 1e-6


def test_meter_gives_the_burst_and_then_the_rate() -> None:
    due, allowed = 0.0, 0
    for _ in range(100):
        kept = guard.meter(due, 1000.0, 10, 20)
        if kept is not None:
            due, allowed = kept, allowed + 1
    # Floating point may keep the last of the burst back.
    assert allowed in (20, 21)
    assert guard.meter(due, 1000.1001, 10, 20) is not None


def test_no_limit() -> None:
    assert guard.rate_allows(0, 5.0, RateLimit(requests=0)) == 5.0


def test_ban_policy() -> None:
    limit = FailedAuth(limit=3)
    assert [guard.is_banned_after(n, limit) for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert not guard.is_banned_after(99, FailedAuth(limit=0))


def test_a_spoofed_source_is_not_banned() -> None:
    assert not guard.counts_as_failure(forged=True, proven=False)
    assert guard.counts_as_failure(forged=True, proven=True)
    assert guard.counts_as_failure(forged=False, proven=False)


@given(st.text(max_size=200))
def test_header_text_cannot_leave_its_quotes(text: str) -> None:
    safe = guard.header_text(text)
    assert not any(ord(character) < 32 or ord(character) == 127 for character in safe)
    inside = safe.replace("\\\\", "").replace('\\"', "")
    assert '"' not in inside
    assert "\\" not in inside


def test_retry_after() -> None:
    refusal = guard.retry_after(guard.Refusal(503, "Busy", "X: 1\r\n"), 7)
    assert refusal.headers == "Retry-After: 7\r\nX: 1\r\n"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("INVITE <sip:a@b> SIP/2.0\r\nVia: x", "<sip:a@b>"),
        ("OPTIONS soap.beep://host SIP/2.0\r\n", "soap.beep://host"),
        ("OPTIONS", ""),
        ("", ""),
    ],
)
def test_request_uri(text: str, uri: str) -> None:
    assert guard.request_uri(text) == uri
