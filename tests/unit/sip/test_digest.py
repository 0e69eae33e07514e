"""Digest: the example of RFC 2617 section 3.5, and which challenge is answered.

That SHA-256 is right is what the Call Manager says in tests/integration/sip.
"""

from __future__ import annotations

import pytest

from services.core.sip import Credentials, Response
from services.core.sip.digest import _answer, authorization, challenges
from services.core.sip.message import compose, parse

CREDENTIALS = Credentials("Mufasa", "Circle Of Life")
NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
OPAQUE = "5ccc069c403ebaf9f0171e9517f40e41"


def challenge(*values: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    fields = [
        ("Via", "SIP/2.0/UDP h;branch=z9hG4bKa"),
        ("From", "<sip:a@a>;tag=a"),
        ("To", "<sip:b@b>;tag=b"),
        ("Call-ID", "c"),
        ("CSeq", "1 INVITE"),
        *((name, value) for value in values),
    ]
    made = parse(compose(f"SIP/2.0 {status} No", fields))
    assert isinstance(made, Response)
    return made


def digest(algorithm: str, realm: str = "testrealm@host.com") -> str:
    return (
        f'Digest realm="{realm}", qop="auth, auth-int", algorithm={algorithm}, nonce="{NONCE}", '
        f'opaque="{OPAQUE}"'
    )


def test_the_rfcs_example() -> None:
    (found,) = challenges(challenge(digest("MD5")))
    said = _answer(found, "GET", "/dir/index.html", CREDENTIALS, "0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in said
    assert f'opaque="{OPAQUE}"' in said


def test_the_strongest_is_answered() -> None:
    answer = authorization(
        challenge(digest("MD5"), "Basic realm=x", digest("SHA-256"), digest("NEW")),
        "INVITE",
        "sip:b@b",
        CREDENTIALS,
    )
    assert answer is not None
    assert answer[0] == "Authorization"
    assert "algorithm=SHA-256" in answer[1]


def test_a_proxys_and_an_old_one_without_qop() -> None:
    plain = f'Digest realm="r", nonce="{NONCE}"'
    answer = authorization(challenge(plain, status=407), "INVITE", "sip:b@b", CREDENTIALS)
    assert answer is not None
    assert answer[0] == "Proxy-Authorization"
    assert "qop" not in answer[1]


def test_another_realms_credentials_are_not_given() -> None:
    mine = Credentials("a", "b", realm="mine")
    assert authorization(challenge(digest("MD5")), "INVITE", "sip:b@b", mine) is None
    assert authorization(challenge(digest("MD5", "mine")), "INVITE", "sip:b@b", mine) is not None


@pytest.mark.parametrize("value", ["", "Digest", "Digest nonsense", "Digest qop=auth-int", '"'])
def test_nonsense(value: str) -> None:
    authorization(challenge(value), "INVITE", "sip:b@b", CREDENTIALS)
