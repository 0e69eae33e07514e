"""The BYEs that end a call from outside."""

from __future__ import annotations

import msgspec

from services.call_manager.hangup import byes
from services.core.events import Answered, Side

OURS = "sip:10.0.0.1{};lr;ftag=a;vsf=AAA;ms=media1;mk=pp;sg=00"
ANSWERED = Answered(
    id="1",
    call="c@h",
    time=0.0,
    server="cm1",
    tenant="sales",
    caller=Side(tag="a", target='"Anna" <sip:2001@192.0.2.7:5060;pbx-to=x>;expires=5'),
    callee=Side(tag="b", target="<sip:2002@192.0.2.8;transport=tls;pbx-to=y>"),
    routes=(
        "<sip:edge.example;lr>",
        f"<{OURS.format('')}>,<{OURS.format(':5061')}>",
        "<sip:up;lr>",
    ),
)


def headers(text: str) -> list[tuple[str, str]]:
    lines = (line.partition(": ") for line in text.splitlines())
    return [(name, value) for name, _, value in lines]


def test_each_party_hears_the_other_say_it() -> None:
    to_caller, to_callee = byes(ANSWERED, "10.0.0.1", "media")
    ours, second = (OURS.format(port).replace(";vsf=AAA", "") for port in ("", ":5061"))
    assert to_caller.uri == "sip:2001@192.0.2.7:5060;pbx-to=x"
    assert headers(to_caller.headers) == [
        ("Route", f"<{ours}>"),
        ("Route", f"<{second}>"),
        ("Route", "<sip:up;lr>"),
        ("From", "<sip:10.0.0.1>;tag=b"),
        ("To", "<sip:10.0.0.1>;tag=a"),
        ("Call-ID", "c@h"),
        ("CSeq", "2147483647 BYE"),
        ("X-PBX-End", "media"),
    ]
    assert to_callee.uri == "sip:2002@192.0.2.8;transport=tls;pbx-to=y"
    assert [value for name, value in headers(to_callee.headers) if name == "Route"] == [
        f"<{second}>",
        f"<{ours}>",
        "<sip:edge.example;lr>",
    ]
    assert ("From", "<sip:10.0.0.1>;tag=a") in headers(to_callee.headers)


def test_a_message_is_whole() -> None:
    bye, _ = byes(ANSWERED, "10.0.0.1", "media")
    text = bye.message("[fd00::1]", 4711).decode()
    assert text.startswith(
        "BYE sip:2001@192.0.2.7:5060;pbx-to=x SIP/2.0\r\nVia: SIP/2.0/UDP [fd00::1]:4711;"
    )
    assert text.endswith("\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")


def test_nothing_is_made_up() -> None:
    unsigned = msgspec.structs.replace(ANSWERED, callee=Side(tag="b", target=""))
    untold = msgspec.structs.replace(ANSWERED, caller=None, callee=None, routes=())
    foreign = msgspec.structs.replace(ANSWERED, routes=("<sip:edge.example;lr>",))
    for answered in (unsigned, untold, foreign):
        assert byes(answered, "10.0.0.1", "media") == ()
