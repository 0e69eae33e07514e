"""Requests that come back, or fork without end."""

from __future__ import annotations

from tests.integration.edge.conftest import Dial
from tests.integration.edge.hostile import acknowledge, call
from tests.support.kamailio import REALM, CallManager
from tests.support.sip_client import challenge, digest


def test_too_many_hops(phone: Dial) -> None:
    assert call(phone(), extra="Max-Forwards: 0\r\n").code == 483


def test_breadth(phone: Dial) -> None:
    assert call(phone(), extra="Max-Breadth: 0\r\n").code == 440


def test_breadth_is_shared_among_branches(phone: Dial) -> None:
    """RFC 5393 5.3.3: what comes in is the most that may be up at once."""
    callees = [phone("1002", host=host) for host in (3, 4)]
    for callee in callees:
        assert callee.register().code == 200
    caller = phone("1001")
    assert call(caller, "1002", extra="Max-Breadth: 1\r\n").code == 440
    uri = f"sip:1002@{REALM}"
    first = caller.send(caller.request("INVITE", uri, f"Contact: {caller.contact}\r\n"))
    acknowledge(caller, uri, first)
    credentials = digest(challenge(first), "INVITE", uri, "1001")
    lines = f"Contact: {caller.contact}\r\nProxy-Authorization: {credentials}\r\n"
    caller.connection.send(caller.request("INVITE", uri, f"{lines}Max-Breadth: 2\r\n"))
    for callee in callees:
        invite = callee.connection.receive().decode()
        assert invite.startswith("INVITE ")
        assert "\r\nMax-Breadth: 1\r\n" in invite


def test_a_loop_is_found(manager: CallManager, phone: Dial) -> None:
    """A phone that sends its calls back as they came (RFC 5393 3)."""
    callee, caller = phone("1002", host=3), phone("1001")
    assert callee.register().code == 200
    uri = f"sip:1002@{REALM}"
    first = caller.send(caller.request("INVITE", uri, f"Contact: {caller.contact}\r\n"))
    acknowledge(caller, uri, first)
    credentials = digest(challenge(first), "INVITE", uri, "1001")
    original = caller.request(
        "INVITE", uri, f"Contact: {caller.contact}\r\nProxy-Authorization: {credentials}\r\n"
    )
    caller.connection.send(original)
    received = callee.connection.receive()
    while not received.startswith(b"INVITE"):
        received = callee.connection.receive()
    vias = [line for line in received.decode().split("\r\n") if line.lower().startswith("via:")]
    mark = f"{callee.via};branch=z9hG4bKlooped\r\n" + "\r\n".join(vias)
    looped = original.decode().split("\r\nVia: ", 1)
    back = f"{looped[0]}\r\nVia: {mark}\r\n{looped[1].partition(chr(13) + chr(10))[2]}"
    callee.connection.send(back.encode())
    assert callee.reply().code == 482
    spiral = back.replace(f"INVITE {uri}", f"INVITE sip:1003@{REALM}").replace("looped", "spiral")
    callee.connection.send(spiral.encode())
    assert callee.reply().code != 482
