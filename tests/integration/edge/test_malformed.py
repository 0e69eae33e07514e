"""Malformed and hostile messages: each gets its answer or none, and harms nobody."""

from __future__ import annotations

import socket

import pytest

from services.core.configuration import Security
from tests.integration.edge.conftest import Dial
from tests.integration.edge.hostile import SILENCE, alive, options, silent
from tests.support.kamailio import REALM, CallManager
from tests.support.sip_client import WebSocket


@pytest.mark.parametrize(
    ("extra", "parts", "code"),
    [
        ("", {"cseq": "1 INVITE"}, 400),
        ("", {"cseq": "99999999999 OPTIONS"}, 400),
        ("", {"cseq": "-1 OPTIONS"}, 400),
        ("CSeq: 7 OPTIONS\r\n", {}, 400),
        ("Call-ID: second\r\n", {}, 400),
        ("f: <sip:x@y>;tag=2\r\n", {}, 400),
        ("l: 5\r\n", {}, 400),
        ("X: y\r\n" * 2000, {}, 400),
        ("", {"from_": "<sip:a%0d%0aX@b>;tag=1"}, 400),
        ("", {"from_": "no uri at all"}, 400),
        ("", {"call_id": "longer-than-a-files-name" * 9}, 400),
        ("Proxy-Require: teleportation\r\n", {}, 420),
    ],
)
def test_malformed(phone: Dial, extra: str, parts: dict[str, str], code: int) -> None:
    handset = phone()
    assert handset.send(options(handset, extra, **parts)).code == code
    assert alive(handset)


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        ("", {"to": "<>"}),
        ("", {"via": "SIP/2.0/UDP"}),
    ],
)
def test_what_cannot_be_parsed_has_no_answer(
    phone: Dial, extra: str, parts: dict[str, str]
) -> None:
    handset = phone()
    assert silent(handset, options(handset, extra, **parts))
    assert alive(handset)


def test_what_cannot_be_parsed_closes_a_connection(phone: Dial) -> None:
    handset = phone(over="tcp")
    with pytest.raises(ConnectionError):
        handset.send(options(handset, "Max-Forwards: 70\r\nVia: SIP/2.0/TCP\r\n"))


def test_oversized(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(max_message=4000))
    handset = phone()
    answer = handset.send(handset.request("OPTIONS", f"sip:{REALM}", body="x" * 5000))
    assert answer.code == 513


def test_not_utf8(phone: Dial) -> None:
    handset = phone()
    message = options(handset, from_="<sip:caf\u00e9@x>;tag=1").replace("é".encode(), b"\xe9")
    answer = handset.send(message)
    assert (answer.code, answer.reason) == (400, "Message Is Not UTF-8")


def test_compact_forms(phone: Dial) -> None:
    handset = phone()
    message = options(handset).decode()
    for long, short in (
        ("Via", "v"),
        ("From", "f"),
        ("To", "t"),
        ("Call-ID", "i"),
        ("Content-Length", "l"),
    ):
        message = message.replace(f"\r\n{long}:", f"\r\n{short}:")
    assert handset.send(message.encode()).code == 200


def test_absurd_content_length(phone: Dial) -> None:
    datagram = phone()
    message = options(datagram).replace(b"Content-Length: 0", b"Content-Length: 2147483648")
    assert silent(datagram, message) or True
    assert alive(datagram)
    stream = phone("1002", over="tcp")
    stream.connection.send(
        options(stream).replace(b"Content-Length: 0", b"Content-Length: 99999999")
    )
    with pytest.raises((ConnectionError, TimeoutError)):
        stream.connection.receive(SILENCE)


@pytest.mark.parametrize("over", ["tcp", "tls"])
def test_partial_frames_hold_nobody_up(phone: Dial, over: str) -> None:
    """More half messages than there are workers; whole ones are answered all the same."""
    slow = [phone(over=over) for _ in range(12)]
    for handset in slow:
        handset.connection.send(options(handset)[:40])
    assert alive(phone("1002", over=over))
    # A message in pieces is still a message.
    handset = phone("1003", over=over)
    for byte in (message := options(handset))[:-1]:
        handset.connection.send(bytes([byte]))
    assert handset.send(message[-1:]).code == 200


def test_two_messages_in_one_segment(phone: Dial) -> None:
    handset = phone(over="tcp")
    handset.connection.send(options(handset) + options(handset))
    assert [handset.reply().code, handset.reply().code] == [200, 200]


def test_garbage_on_the_tls_port(manager: CallManager, phone: Dial) -> None:
    for garbage in (
        b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        bytes(range(256)) * 20,
        b"\x16\x03\x01\xff\xff",
    ):
        with socket.create_connection((manager.address, 5061), timeout=2) as raw:
            raw.sendall(garbage)
    assert alive(phone(over="tls"))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\x8f\x80\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x81\x05hello",
        b"\x01\x85\x00\x00\x00\x00abcde",
        b"\x88\x82\x00\x00\x00\x00\xff\xff",
    ],
)
def test_garbage_in_a_websocket(phone: Dial, frame: bytes) -> None:
    handset = phone(over="wss")
    assert isinstance(handset.connection, WebSocket)
    handset.connection.send_raw(frame)
    handset.connection.close()
    assert alive(phone("1002", over="wss"))


def test_text_that_is_no_sip_in_a_websocket(phone: Dial) -> None:
    handset = phone(over="wss")
    handset.connection.send(b"hello")
    assert alive(phone("1002", over="wss"))


def test_http_that_is_no_websocket(manager: CallManager, phone: Dial) -> None:
    with socket.create_connection((manager.address, 5060), timeout=2) as raw:
        raw.sendall(b"GET /etc/passwd HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b" 404 " in raw.recv(4096).partition(b"\r\n")[0]
    assert alive(phone(over="tcp"))
