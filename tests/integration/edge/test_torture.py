"""RFC 4475 against a real Kamailio: what each message gets, why, and that Kamailio lives.

The tenant "torture" owns example.com, example.net and example.org, so that the requests are for us.
A well-formed request that needs authentication is challenged: that is how one sees that it was
understood. Silence is for what Kamailio's parser gives up on: without Via and the fields that an
answer copies no answer can be made, and a sender of such things waits 32 s at most.
"""

from __future__ import annotations

import pytest

from tests.integration.edge.torture_messages import MESSAGES
from tests.support.kamailio import CallManager
from tests.support.sip_client import Phone, Reply, Stream, Udp

UNDERSTOOD, REGISTRAR, OK = 407, 401, 200
SILENCE = None

# name: (answer, reason). The reasons cite RFC 4475 where it says what to do.
EXPECTED: dict[str, tuple[int | None, str]] = {
    # 3.1.1 valid messages
    "wsinv": (SILENCE, "valid, but Kamailio 5.6 reads no CSeq that is folded before its method"),
    "intmeth": (SILENCE, "valid, but Kamailio 5.6 takes no backtick and tilde in a field name"),
    "esc01": (UNDERSTOOD, "valid: escapes in user part and parameters"),
    "escnull": (REGISTRAR, "valid: an escaped NUL shortens no user name"),
    "esc02": (SILENCE, "an unknown method with %: as intmeth, for its field C%6Fntact"),
    "lwsdisp": (OK, "valid: no space between display name and <"),
    "longreq": (UNDERSTOOD, "valid: long values are no reason to refuse"),
    "dblreq": (REGISTRAR, "valid REGISTER; what follows it in the datagram is cut off"),
    "semiuri": (OK, "valid: a semicolon belongs to the user part"),
    "transports": (OK, "valid: unknown transports in older Vias are not ours to judge"),
    "mpart01": (UNDERSTOOD, "valid: a binary body in a MESSAGE"),
    "unreason": (SILENCE, "a reply to nothing that we sent is dropped"),
    "noreason": (SILENCE, "a reply to nothing that we sent is dropped"),
    # 3.1.2 invalid messages
    "badinv01": (SILENCE, "Via cannot be parsed, so nothing can be answered; RFC: 400"),
    "clerr": (400, "shorter than its Content-Length"),
    "ncl": (SILENCE, "a negative Content-Length ends Kamailio's parsing; RFC: an error"),
    "scalar02": (400, "CSeq over 2**32"),
    "scalarlg": (SILENCE, "a reply to nothing that we sent is dropped"),
    "quotbal": (SILENCE, "To cannot be parsed, and an answer needs it; RFC: 400"),
    "ltgtruri": (400, "brackets around the Request-URI"),
    "lwsruri": (SILENCE, "white space in the Request-URI: no version is found; RFC: 400"),
    "lwsstart": (SILENCE, "two spaces in the first line; RFC: 400 or be liberal"),
    "trws": (OK, "white space after the version; RFC allows being liberal"),
    "escruri": (UNDERSTOOD, "RFC: 400 or ignore the header parameters; they are not used"),
    "baddate": (UNDERSTOOD, "Date is not used, so its zone is no reason to refuse"),
    "regbadct": (REGISTRAR, "challenged first; with credentials it is 400 (test_register.py)"),
    "badaspec": (OK, "RFC allows being liberal about spaces within <>"),
    "baddn": (OK, "RFC: 400 or be liberal about an unquoted comma"),
    "badvers": (SILENCE, "Via of version 7.0 cannot be parsed; RFC: 505"),
    "mismatch01": (400, "CSeq's method is another than the request's"),
    "mismatch02": (400, "the same, with a method that is unknown; RFC: 501 or 400"),
    "bigcode": (SILENCE, "a reply with a code over 699 is dropped"),
    # 3.2 transaction layer
    "badbranch": (OK, "nothing after z9hG4bK: matched as an old branch, and OPTIONS has none"),
    # 3.3 application layer
    "insuf": (SILENCE, "no Call-ID, From and To to answer with; RFC: 400"),
    "unkscm": (416, "unknown scheme"),
    "novelsc": (416, "unknown scheme"),
    "unksm2": (400, "From is no SIP address"),
    "bext01": (420, "Proxy-Require of what we do not have"),
    "invut": (UNDERSTOOD, "the body's type is the callee's to judge"),
    "regaut01": (REGISTRAR, "credentials of an unknown scheme count as none"),
    "multi01": (SILENCE, "two Max-Forwards end Kamailio's parsing; RFC: 400"),
    "mcl01": (400, "two Content-Lengths"),
    "bcast": (SILENCE, "a reply to nothing that we sent goes nowhere, least of all to a broadcast"),
    "zeromf": (OK, "it is for us, so it need not be forwarded"),
    "cparam01": (REGISTRAR, "valid: a parameter of the field"),
    "cparam02": (REGISTRAR, "valid: a parameter of the URI"),
    "regescrt": (REGISTRAR, "valid: a Route within a Contact's URI is not followed"),
    "sdp01": (UNDERSTOOD, "Accept without SDP is the callee's to judge"),
    # 3.4 backward compatibility
    "inv2543": (403, "RFC 2543 without a tag: parsed; its From is of a domain that we do not have"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_torture(manager: CallManager, name: str) -> None:
    expected, reason = EXPECTED[name]
    before = manager.pids()
    client = Udp(manager.address, f"{manager.network}.2")
    try:
        client.send(MESSAGES[name])
        try:
            code = Reply(client.receive(0.3 if expected is SILENCE else 3)).code
        except TimeoutError:
            code = None
        assert code == expected, reason
        client.send(
            f"OPTIONS sip:{manager.address} SIP/2.0\r\nVia: SIP/2.0/UDP {client.address}:5060;"
            f"branch=z9hG4bKafter{name}\r\nFrom: <sip:probe@example.com>;tag=1\r\n"
            f"To: <sip:{manager.address}>\r\nCall-ID: after-{name}\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
        )
        while (reply := Reply(client.receive())).get("Call-ID") != f"after-{name}":
            pass
        assert reply.code == 200
    finally:
        client.close()
    assert manager.pids() == before


def test_every_message_has_its_expectation() -> None:
    assert EXPECTED.keys() == MESSAGES.keys()
    assert len(MESSAGES) == 49


@pytest.mark.parametrize("name", MESSAGES)
def test_torture_over_tcp(manager: CallManager, name: str) -> None:
    """The same as a stream that then ends: whatever it does, it does to that connection alone."""
    before = manager.pids()
    stream = Stream(manager.address, f"{manager.network}.2")
    stream.send(MESSAGES[name])
    stream.close()
    probe = Phone(Stream(manager.address, f"{manager.network}.3"), "1001")
    try:
        assert probe.send(probe.request("OPTIONS", "sip:sales.example")).code == 200
    finally:
        probe.connection.close()
    assert manager.pids() == before
