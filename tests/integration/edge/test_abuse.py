"""What must not hurt: guessing, floods, scanners, made-up dialogs, reflection."""

from __future__ import annotations

import time

import pytest

from services.core.configuration import FailedAuth, RateLimit, Security
from tests.integration.edge.conftest import Dial
from tests.integration.edge.hostile import SILENCE, acknowledge, alive, call, options, silent
from tests.support.kamailio import REALM, CallManager
from tests.support.sip_client import Udp, digest


def test_wrong_passwords_ban_the_source_for_a_while(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(failed_auth=FailedAuth(limit=3, window=60, ban=2)))
    handset, neighbour = phone("1001"), phone("1002", host=3)
    for _ in range(3):
        assert handset.register(password="guess").code == 401
    assert silent(handset, options(handset))
    assert manager.banned() == [handset.connection.address]
    assert f"banned {handset.connection.address} for 2 s" in manager.log()
    assert neighbour.register().code == 200
    manager.wait_for(lambda: not silent(handset, options(handset)), "the ban to end", 6)
    assert handset.register().code == 200


def test_unknown_users_count_as_failures(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(failed_auth=FailedAuth(limit=2, window=60, ban=60)))
    for extension in ("7001", "7002"):
        handset = phone(extension, port="0")
        handset.register()
    assert manager.banned() == [handset.connection.address]


def test_failures_apart_from_each_other_do_not_ban(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(failed_auth=FailedAuth(limit=2, window=1, ban=60)))
    handset = phone()
    handset.register(password="guess")
    # The window is the only thing to wait for; Kamailio's clock has seconds.
    time.sleep(2.1)
    handset.register(password="guess")
    assert manager.banned() == []


def test_a_spoofed_source_cannot_be_banned(manager: CallManager, phone: Dial) -> None:
    """Over UDP an attacker sees no challenge that goes to the phone it pretends to be."""
    manager.configure(Security(failed_auth=FailedAuth(limit=2, window=60, ban=60)))
    handset = phone()
    made_up = f'Digest realm="{REALM}", nonce="{"A" * 28}", algorithm=MD5, qop=auth'
    for _ in range(5):
        credentials = digest(
            made_up.replace("Digest ", "Digest x=y, "), "REGISTER", "sip:x", "1001"
        )
        line = f"Authorization: {credentials}\r\n"
        answer = handset.send(handset.request("REGISTER", f"sip:{REALM}", line))
        assert answer.code == 401
    assert manager.banned() == []
    assert handset.register().code == 200


def test_made_up_nonces_over_tcp_are_failures(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(failed_auth=FailedAuth(limit=2, window=60, ban=60)))
    handset = phone(over="tcp")
    made_up = f'Digest x=y, realm="{REALM}", nonce="{"A" * 28}", algorithm=MD5, qop=auth'
    credentials = digest(made_up, "REGISTER", "sip:x", "1001")
    for _ in range(2):
        handset.send(
            handset.request("REGISTER", f"sip:{REALM}", f"Authorization: {credentials}\r\n")
        )
    assert manager.banned() == [handset.connection.address]
    with pytest.raises(ConnectionError):
        handset.send(options(handset))


def test_trusted_sources_are_not_banned(manager: CallManager, phone: Dial) -> None:
    manager.configure(
        Security(failed_auth=FailedAuth(limit=1, ban=60), trusted=(f"{manager.network}.0/28",))
    )
    handset = phone()
    handset.register(password="guess")
    assert handset.register().code == 200


def test_rate_limit_is_per_source(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(rate=RateLimit(requests=10, burst=20)))
    flooder, neighbour = phone("1001"), phone("1002", host=3)
    for _ in range(200):
        flooder.connection.send(options(flooder))
    answers = 0
    while True:
        try:
            flooder.reply(SILENCE)
        except TimeoutError:
            break
        answers += 1
    assert 20 <= answers <= 30
    assert alive(neighbour)
    manager.wait_for(lambda: not silent(flooder, options(flooder)), "tokens to come back", 3)


@pytest.mark.parametrize("agent", ["friendly-scanner", "sipvicious", "sipcli/v1.8"])
def test_scanners_get_no_answer(phone: Dial, agent: str) -> None:
    handset = phone()
    assert silent(handset, options(handset, f"User-Agent: {agent}\r\n"))
    message = handset.request("REGISTER", "sip:100@1.1.1.1", f"User-Agent: {agent}\r\n")
    assert silent(handset, message)


@pytest.mark.parametrize(
    "uri", ["sip:100@1.1.1.1", "sip:+4930123456@198.51.100.7", "sip:1001@elsewhere.example"]
)
def test_no_open_relay(phone: Dial, uri: str) -> None:
    stranger = phone("100", domain="elsewhere.example")
    answer = stranger.send(stranger.request("INVITE", uri, f"Contact: {stranger.contact}\r\n"))
    acknowledge(stranger, uri, answer)
    assert answer.code == 403


def test_a_preloaded_route_leads_nowhere(manager: CallManager, phone: Dial) -> None:
    victim = Udp(manager.address, f"{manager.network}.9")
    try:
        handset = phone()
        route = f"Route: <sip:{manager.address};lr>, <sip:{victim.address}:{victim.port};lr>\r\n"
        assert call(handset, extra=route).code >= 400
        message = options(handset, route, uri=f"sip:x@{victim.address}")
        handset.connection.send(message)
        with pytest.raises(TimeoutError):
            victim.receive(SILENCE)
    finally:
        victim.close()


def test_a_made_up_dialog_is_refused(phone: Dial) -> None:
    handset = phone()
    answer = handset.send(
        handset.request(
            "BYE",
            "sip:1002@198.51.100.1",
            "Route: <sip:198.51.100.9;lr>\r\n",
            to=f"<sip:1002@{REALM}>;tag=madeup",
        )
    )
    assert answer.code in (403, 404, 481)


def test_stray_replies_are_not_reflected(manager: CallManager) -> None:
    victim = Udp(manager.address, f"{manager.network}.9")
    attacker = Udp(manager.address, f"{manager.network}.8")
    try:
        attacker.send(
            f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {manager.address}:5060;branch=z9hG4bKx\r\n"
            f"Via: SIP/2.0/UDP {victim.address}:{victim.port};branch=z9hG4bKy\r\n"
            f"From: <sip:a@{REALM}>;tag=1\r\nTo: <sip:b@{REALM}>;tag=2\r\nCall-ID: stray\r\n"
            "CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n".encode()
        )
        with pytest.raises(TimeoutError):
            victim.receive(SILENCE)
    finally:
        victim.close()
        attacker.close()
