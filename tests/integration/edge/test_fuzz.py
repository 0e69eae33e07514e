"""Broken messages against a real Kamailio: it lives, and no Python of ours fails."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from tests.integration.edge.conftest import Dial
from tests.integration.edge.torture_messages import MESSAGES
from tests.support.kamailio import REALM, CallManager
from tests.support.sip_client import Phone, Udp, challenge, digest

ROUNDS = 1500
TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\0", b"\xff\xfe", b"%00", b"%", b"%0d%0a", b"<", b">", b'"', b"\\",
    b";", b",", b"@", b":", b" ", b"\t", b"\r\n ", b"-1", b"99999999999999999999", b"A" * 3000,
    b"sip:", b"SIP/2.0", b"z9hG4bK", b";lr", b";tag=", b"Via: ", b"Route: ", b"Contact: *",
    b"[::1]", b"=",
)  # fmt: skip


def mutate(message: bytes, chance: random.Random) -> bytes:
    """One to four changes: bytes flipped, pieces cut, doubled, swapped or put in."""
    data = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[at % len(data)] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + chance.randint(1, 200)]
            case 3:
                data[at:at] = chance.choice(TOKENS)
            case 4:
                lines = bytes(data).split(b"\r\n")
                chance.shuffle(lines)
                data = bytearray(b"\r\n".join(lines))
            case _:
                data = data[:at]
    return bytes(data[:60000])


def seeds(handset: Phone) -> list[bytes]:
    """Messages to start from: the torture set, and good ones that get past authentication."""
    uri = f"sip:{REALM}"
    first = handset.send(handset.request("REGISTER", uri))
    contact = f"Contact: {handset.contact}\r\n"
    good = [
        handset.request(
            "REGISTER",
            uri,
            f"{contact}Authorization: "
            f"{digest(challenge(first), 'REGISTER', uri, '1001', nc=number)}\r\n",
        )
        for number in range(1, 30)
    ]
    target = f"sip:1002@{REALM}"
    invite = handset.send(handset.request("INVITE", target, contact))
    credentials = digest(challenge(invite), "INVITE", target, "1001")
    sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    sdp += "m=audio 4000 RTP/AVP 0\r\n"
    lines = f"{contact}Content-Type: application/sdp\r\n"
    good += [
        handset.request("INVITE", target, f"{lines}Proxy-Authorization: {credentials}\r\n", sdp),
        handset.request("INVITE", target, lines, sdp),
        handset.request("OPTIONS", uri),
        handset.request("MESSAGE", target, "Content-Type: text/plain\r\n", "hello"),
        handset.request("BYE", target, "Route: <sip:127.0.0.1;lr>\r\n", to=f"<{target}>;tag=1"),
        handset.request("SUBSCRIBE", uri, f"{contact}Event: reg\r\n"),
        b"SIP/2.0 200 OK\r\n" + handset.request("INVITE", uri).partition(b"\r\n")[2],
    ]
    return good + list(MESSAGES.values())


@pytest.mark.parametrize("start", [1, 2])
def test_mutations(manager: CallManager, phone: Dial, start: int) -> None:
    handset = phone("1001", host=4)
    chance = random.Random(start)  # noqa: S311 - has to repeat, not to surprise
    corpus = seeds(handset)
    before = manager.pids()
    sender = Udp(manager.address, f"{manager.network}.5")
    alive = phone("1002", host=6)
    try:
        for number in range(ROUNDS):
            sender.send(mutate(chance.choice(corpus), chance))
            if number % 50 == 49:
                in_step(manager, alive)
    finally:
        sender.close()
    assert manager.pids() == before
    assert manager.failures() == []


def test_any_value_of_a_header_field(manager: CallManager, phone: Dial) -> None:
    alive = phone("1002", host=6)
    sent = 0

    @seed(4475)
    @settings(max_examples=300, deadline=None, database=None, phases=[Phase.generate])
    @given(
        st.sampled_from(
            ["From", "To", "Contact", "Via", "Route", "Expires", "Authorization", "Path"]
        ),
        st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])),
    )
    def send(name: str, value: str) -> None:
        nonlocal sent
        sender = Udp(manager.address, f"{manager.network}.7", 0)
        handset = Phone(sender, "1001")
        try:
            message = handset.request("REGISTER", f"sip:{REALM}", f"{name}: {value}\r\n")
            sender.send(message)
            sender.send(message.replace(b"REGISTER", b"INVITE"))
        finally:
            sender.close()
        sent += 1
        if sent % 20 == 0:
            in_step(manager, alive)

    send()
    in_step(manager, alive)
    assert manager.failures() == []


def in_step(manager: CallManager, alive: Phone) -> None:
    """Wait for Kamailio, so that nothing is lost in a full receive buffer or to the rate limit."""
    assert alive.send(alive.request("OPTIONS", f"sip:{REALM}"), 5).code == 200
    manager.rpc("htable.flush", "rate")
