"""registration.py: contacts, who registers whom, where calls will go."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import registration
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.registration import Asked, MalformedError, Plan, Uri

SOURCE = "192.0.2.7"


def asked(*contacts: str, **changes: object) -> Asked:
    fields = {
        "aor_user": "1001",
        "aor_domain": "sales",
        "from_user": "1001",
        "from_domain": "sales",
        "contacts": contacts,
        "paths": (),
        "source": SOURCE,
        "port": 5060,
        "transport": "udp",
    } | changes
    return Asked(**fields)  # type: ignore[arg-type]  # each test changes one field


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:1001@192.0.2.7", Uri("sip", "1001", "192.0.2.7", 0)),
        (
            "sips:1001@Host.Example:5061;transport=tcp",
            Uri("sips", "1001", "host.example", 5061, ";transport=tcp"),
        ),
        ("sip:[2001:db8::1]:5060", Uri("sip", "", "2001:db8::1", 5060)),
        ("sip:a:b;c@host;x?h=v", Uri("sip", "a:b;c", "host", 0, ";x", "?h=v")),
        ("sip:host:99999", None),
        ("tel:+49", None),
        ("sip:", None),
        ("sip:a b@host", None),
    ],
)
def test_parse_uri(text: str, uri: Uri | None) -> None:
    assert registration.parse_uri(text) == uri


def test_parse_contacts() -> None:
    contacts = registration.parse_contacts(
        [
            '"B, \\"A\\"" <sip:a@h1;x=1,2>;q=0.5;+sip.instance="<urn:uuid:1>", sip:b@h2;Expires=5',
            "Joe <sip:c@h3>",
        ]
    )
    assert contacts is not None
    assert [contact.uri.host for contact in contacts] == ["h1", "h2", "h3"]
    assert contacts[0].parameters == {"q": "0.5", "+sip.instance": '"<urn:uuid:1>"'}
    assert contacts[1].parameters == {"expires": "5"}


def test_star() -> None:
    assert registration.parse_contacts(["*"]) is None
    with pytest.raises(MalformedError):
        registration.parse_contacts(["*", "<sip:a@b>"])


@pytest.mark.parametrize(
    "value",
    [
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        '"unclosed <sip:a@b>',
        "<sip:a@b",
        "<sip:a@b> garbage",
        "<name:John_Smith>",
        ";;;",
        ",".join(["<sip:a@b>"] * 17),
    ],
)
def test_contacts_that_cannot_be_read(value: str) -> None:
    with pytest.raises(MalformedError):
        registration.parse_contacts([value])


@given(st.text(max_size=200))
def test_any_contact_ends(text: str) -> None:
    with contextlib.suppress(MalformedError):
        contacts = registration.parse_contacts([text])
        assert all(contact.uri.host for contact in contacts or ())


@pytest.mark.parametrize(
    "text", ['"' + "\\" * 5000, "<" * 5000, "a" * 5000, ";a=" * 5000, "," * 5000]
)
def test_no_contact_takes_long(text: str) -> None:
    with pytest.raises(MalformedError):
        registration.parse_contacts([text + "\x00<"])


@pytest.mark.parametrize(
    ("request_", "plan"),
    [
        (asked("<sip:1001@192.0.2.7>"), Plan(received=False, ping=False)),
        (asked("<sip:1001@192.0.2.7:7000>"), Plan(received=False, ping=False)),
        (asked("<sip:1001@192.168.1.2>"), Plan(received=True, ping=True)),
        (asked("<sip:0900@carrier.example>"), Plan(received=True, ping=True)),
        (asked("<sip:1001@192.0.2.7>", transport="tcp"), Plan(received=True, ping=False)),
        (
            asked("<sip:1001@x.invalid;transport=ws>", transport="wss"),
            Plan(received=True, ping=False),
        ),
        (asked("<sip:a@[2001:db8::1]>", source="2001:DB8:0::1"), Plan(received=False, ping=False)),
        (asked("*"), Plan(received=False, ping=False)),
        (asked(), Plan(received=False, ping=False)),
        (
            asked("<sip:a@10.1.1.1>", paths=(f"<sip:{SOURCE};lr>",)),
            Plan(received=False, ping=False),
        ),
        (
            asked("<sip:a@10.1.1.1>", paths=("<sip:edge.example;lr>",), trusted=True),
            Plan(received=False, ping=False),
        ),
    ],
)
def test_plan(request_: Asked, plan: Plan) -> None:
    assert registration.plan(request_) == plan


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked("<sip:a@b>", paths=("<sip:198.51.100.1;lr>",)), 403),
        (asked('<sip:a@b>;received="sip:198.51.100.1"'), 400),
        (asked("<sip:a@b> x"), 400),
        (asked("<sip:a@b>", paths=("garbage",)), 400),
    ],
)
def test_plan_refuses(request_: Asked, code: int) -> None:
    refusal = registration.plan(request_)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


def test_same_user() -> None:
    assert registration.same_user(asked()) is None
    assert registration.same_user(asked(from_user="1002")) is not None
    assert registration.same_user(asked(from_domain="other")) is not None
