"""What the tests of hostile messages send, and hear or do not hear."""

from __future__ import annotations

from tests.support.kamailio import REALM
from tests.support.sip_client import Phone, Reply, challenge, digest

SILENCE = 0.4
"""Seconds after which no answer means none: answers here take about one millisecond."""


def silent(handset: Phone, message: bytes) -> bool:
    handset.connection.send(message)
    try:
        handset.reply(SILENCE)
    except (TimeoutError, ConnectionError):
        return True
    return False


def options(handset: Phone, extra: str = "", uri: str = f"sip:{REALM}", **parts: str) -> bytes:
    return handset.request("OPTIONS", uri, extra, **parts)


def alive(handset: Phone) -> bool:
    return handset.send(options(handset)).code == 200


def call(handset: Phone, target: str = "4711", extra: str = "", **parts: str) -> Reply:
    """An INVITE with right credentials; its final answer, acknowledged."""
    uri = f"sip:{target}@{REALM}"
    contact = f"Contact: {handset.contact}\r\n{extra}"
    first = handset.send(handset.request("INVITE", uri, contact, **parts))
    acknowledge(handset, uri, first)
    if first.code != 407:
        return first
    credentials = digest(challenge(first), "INVITE", uri, handset.extension)
    message = handset.request(
        "INVITE", uri, f"{contact}Proxy-Authorization: {credentials}\r\n", **parts
    )
    final = handset.send(message)
    acknowledge(handset, uri, final)
    return final


def acknowledge(handset: Phone, uri: str, reply: Reply) -> None:
    via, number = reply.get("Via"), reply.get("CSeq").split()[0]
    handset.connection.send(
        handset.request(
            "ACK", uri, via=via, from_=reply.get("From"), to=reply.get("To"), cseq=f"{number} ACK"
        )
    )
