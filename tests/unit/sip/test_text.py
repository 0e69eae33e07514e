"""URIs, addresses, streams, session descriptions, timers and exports, as text and as values."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.sip import Headers, MalformedError, StateError, parse_address, parse_uri, sdp
from services.core.sip import session_timer as timers
from services.core.sip.dialog import Dialog
from services.core.sip.export import exported_call, read_call, read_invitation
from services.core.sip.framing import KEEP_ALIVE, Framing
from services.core.sip.message import Request, compose, parse
from services.core.sip.negotiation import Negotiation
from services.core.sip.session_timer import SessionTimer
from services.core.sip.uri import split_list

# URIs


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "parameters"),
    [
        ("sip:a@b", "a", "b", 0, {}),
        (
            "SIPS:+49;ext=1:pw@[2001:db8::1]:5061;lr",
            "+49;ext=1:pw",
            "2001:db8::1",
            5061,
            {"lr": ""},
        ),
        ("sip:b:5070;Transport=TCP;x=%20", "", "b", 5070, {"transport": "TCP", "x": "%20"}),
        ("sip:a;b@c;d=e?f=g", "a;b", "c", 0, {"d": "e"}),
    ],
)
def test_uri(text: str, user: str, host: str, port: int, parameters: dict[str, str]) -> None:
    uri = parse_uri(text)
    assert (uri.user, uri.host, uri.port, uri.parameters) == (user, host, port, parameters)
    assert parse_uri(str(uri)) == uri


def test_number() -> None:
    assert parse_uri("sip:%2B49;ext=1:pw@b").number == "+49"


@pytest.mark.parametrize(
    "text", ["", "sip:", "tel:+49", "sip:@b", "sip:a@", "sip:a@b:99999", "sip:a b@c", "<sip:a@b>"]
)
def test_no_uri(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_uri(text)


@pytest.mark.parametrize(
    ("text", "name", "uri", "tag"),
    [
        ('"A \\"b\\" <x>;tag=1" <sip:a@b;tag=2>;tag=3', 'A "b" <x>;tag=1', "sip:a@b;tag=2", "3"),
        ("Anna <sip:a@b>", "Anna", "sip:a@b", ""),
        ("sip:a@b;tag=1", "", "sip:a@b", "1"),
        ("<sip:a@b> ; tag = 1 ; x", "", "sip:a@b", "1"),
    ],
)
def test_address(text: str, name: str, uri: str, tag: str) -> None:
    address = parse_address(text)
    assert (address.name, address.uri, address.tag) == (name, uri, tag)
    assert parse_address(str(address)) == address


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """It is one, or it is said that it is none."""
    for read in (parse_uri, parse_address, sdp.audio, lambda t: sdp.answer(t, "h", 1)):
        with contextlib.suppress(MalformedError):
            read(text)
    split_list(text)


def test_lists() -> None:
    assert split_list('<sip:a,b@c>, "x, y" <sip:d@e>;f="g,h" ,, i') == [
        "<sip:a,b@c>",
        '"x, y" <sip:d@e>;f="g,h"',
        "i",
    ]


# Streams

ONE = compose(
    "OPTIONS sip:a@b SIP/2.0", [("Via", "SIP/2.0/TCP h;branch=z9hG4bK1")], b"body\r\n\r\n"
)


@given(st.lists(st.sampled_from([ONE, KEEP_ALIVE]), max_size=6), st.data())
def test_however_a_stream_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    framing = Framing()
    found: list[bytes] = []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += framing.feed(whole[:size])
        whole = whole[size:]
    assert found == parts
    assert not framing.partial


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_any_stream(parts: list[bytes]) -> None:
    framing = Framing()
    try:
        for part in parts:
            framing.feed(part)
    except MalformedError:
        pass


# Session descriptions

BROWSER = (
    "v=0\r\no=- 4 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=sendonly\r\n"
    "m=video 9 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 VP8/90000\r\n"
    "m=audio 7000 RTP/AVP 111 8 110\r\nc=IN IP4 192.0.2.7\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=rtpmap:110 telephone-event/8000\r\na=ptime:30\r\n"
)


def test_answer_to_an_offer() -> None:
    text, agreed = sdp.answer(BROWSER, "192.0.2.1", 4000)
    assert agreed == sdp.Agreed(
        address="192.0.2.7", port=7000, codec=sdp.PCMA, payload=8, receive=8,
        events=110, events_receive=110, direction="recvonly", ptime=30,
    )  # fmt: skip
    lines = text.splitlines()
    assert "m=video 0 RTP/AVP 96" in lines
    assert "m=audio 4000 RTP/AVP 8 110" in lines
    assert "a=recvonly" in lines
    assert sdp.agreed(BROWSER, text) is not None


def test_wideband_offer_and_answer() -> None:
    ours = sdp.offer("192.0.2.1", 4000, (sdp.L16, sdp.PCMU))
    theirs, seen = sdp.answer(ours, "192.0.2.2", 5000, (sdp.L16,), "sendonly")
    agreed = sdp.agreed(ours, theirs)
    assert agreed is not None
    assert agreed.codec == seen.codec == sdp.L16
    assert (agreed.direction, seen.direction) == ("recvonly", "sendonly")
    assert agreed.events == seen.events
    assert agreed.events is not None


@pytest.mark.parametrize(
    "offered",
    [
        BROWSER.replace("m=audio 7000", "m=audio 0"),
        BROWSER.replace("m=audio 7000 RTP/AVP", "m=audio 7000 RTP/SAVPF"),
        BROWSER.replace(" 8 110", ""),
        "v=0\r\n",
    ],
)
def test_nothing_to_answer(offered: str) -> None:
    with pytest.raises(sdp.NotAcceptableError):
        sdp.answer(offered, "192.0.2.1", 4000)


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendrecv", "sendonly", "recvonly"),
        ("sendonly", "sendonly", "inactive"),
        ("sendonly", "sendrecv", "sendonly"),
        ("recvonly", "sendonly", "recvonly"),
        ("sendrecv", "inactive", "inactive"),
    ],
)
def test_directions(ours: sdp.Direction, theirs: sdp.Direction, result: str) -> None:
    """RFC 3264 section 6.1."""
    offered = sdp.offer("192.0.2.1", 4000, direction=theirs)
    assert sdp.answer(offered, "192.0.2.2", 5000, direction=ours)[1].direction == result


def test_one_origin_for_a_dialog() -> None:
    negotiation = Negotiation()
    first = negotiation.offer(sdp.offer("192.0.2.1", 4000))
    with pytest.raises(StateError):
        negotiation.offer(sdp.offer("192.0.2.1", 4001))
    negotiation.answered(BROWSER)
    assert negotiation.offer(sdp.offer("192.0.2.1", 4000)) == first
    negotiation.withdrawn()
    second = negotiation.offer(sdp.offer("192.0.2.1", 4002))
    origins = [text.splitlines()[1].split(" ") for text in (first, second)]
    assert origins[0][1] == origins[1][1]
    assert int(origins[1][2]) == int(origins[0][2]) + 1
    assert negotiation.local == first


# Session timers


def request(**fields: str) -> Request:
    base = {
        "Via": "SIP/2.0/UDP h;branch=z9hG4bKa", "From": "<sip:a@a>;tag=a", "To": "<sip:b@b>",
        "Call-ID": "c", "CSeq": "1 INVITE",
    }  # fmt: skip
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    made = parse(compose("INVITE sip:b@b SIP/2.0", (base | named).items()))
    assert isinstance(made, Request)
    return made


@pytest.mark.parametrize(
    ("fields", "wanted", "timer"),
    [
        ({}, 0, SessionTimer()),
        ({}, 1800, SessionTimer(interval=1800, ours=True)),
        ({"Supported": "timer"}, 1800, SessionTimer(interval=1800)),
        ({"Supported": "timer", "Session_Expires": "600"}, 1800, SessionTimer(interval=600)),
        (
            {"Supported": "timer", "Session_Expires": "600;refresher=uas"},
            0,
            SessionTimer(interval=600, ours=True),
        ),
        ({"Session_Expires": "50", "Min_SE": "120"}, 0, SessionTimer(interval=120, ours=True)),
        ({"Session_Expires": "nonsense"}, 0, SessionTimer()),
    ],
)
def test_who_refreshes(fields: dict[str, str], wanted: int, timer: SessionTimer) -> None:
    assert timers.of_request(request(**fields), wanted) == timer


def test_too_short() -> None:
    assert timers.too_short(request(Supported="timer", Session_Expires="60"))
    assert not timers.too_short(request(Session_Expires="60"))


def test_when() -> None:
    assert SessionTimer(interval=1800, ours=True).due(100.0) == 1000.0
    assert SessionTimer(interval=1800).due(0.0) == 1768.0
    assert SessionTimer(interval=90).due(0.0) == 60.0


# Exports


def test_export() -> None:
    dialog = Dialog(
        call_id="c", local="<sip:a@a>;tag=a", remote="<sip:b@b>;tag=b", local_tag="a",
        remote_tag="b", local_cseq=5, remote_cseq=7, routes=("<sip:r;lr>",), target="sip:b@h",
    )  # fmt: skip
    negotiation = Negotiation(local="v=0", remote="v=0", pending="ours", proposed="v=0", version=3)
    text = exported_call(dialog, negotiation, SessionTimer(interval=90, ours=True), ["update"])
    found = read_call(text)
    assert found.dialog == dialog
    assert (found.negotiation.pending, found.negotiation.version) == ("", 3)
    uri, fields = found.dialog.fields("BYE")
    headers = Headers(fields)
    assert (uri, headers.get("route"), headers.get("cseq")) == ("sip:b@h", "<sip:r;lr>", "6 BYE")


def test_a_name_in_latin_1_is_exported() -> None:
    remote = b'"M\xfcller" <sip:m\xfc@b>;tag=b'.decode("utf-8", "surrogateescape")
    dialog = Dialog(
        call_id="c", local="<sip:a@a>;tag=a", remote=remote, local_tag="a", remote_tag="b",
        local_cseq=5, target="sip:b@h",
    )  # fmt: skip
    text = exported_call(dialog, Negotiation(), SessionTimer(), ["update"])
    assert read_call(text).dialog.remote == '"M%FCller" <sip:m%FC@b>;tag=b'
    assert dialog.remote == remote


def test_a_strict_router() -> None:
    """RFC 3261 section 12.2.1.1: its URI is the Request-URI, the target goes to the end."""
    dialog = Dialog(
        call_id="c", local="<sip:a@a>;tag=a", remote="<sip:b@b>;tag=b", local_tag="a",
        remote_tag="b", local_cseq=5, routes=("<sip:r>", "<sip:s;lr>"), target="sip:b@h",
    )  # fmt: skip
    uri, fields = dialog.fields("BYE")
    assert uri == "sip:r"
    assert Headers(fields).all("route") == ["<sip:s;lr>", "<sip:b@h>"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"version":1,"dialog":3}'])
def test_no_export(data: bytes) -> None:
    for read in (read_call, read_invitation):
        with pytest.raises(MalformedError):
            read(data)


def test_another_version() -> None:
    text = exported_call(
        Dialog(
            call_id="c", local="l", remote="r", local_tag="a", remote_tag="b", local_cseq=1,
            target="sip:b@h",
        ),
        Negotiation(),
        SessionTimer(),
        [],
    )  # fmt: skip
    changed = msgspec.json.decode(text) | {"version": 2}
    with pytest.raises(MalformedError, match="version 2"):
        read_call(msgspec.json.encode(changed))
