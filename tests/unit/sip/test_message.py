"""Messages: those of RFC 4475, and anything at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.sip.message import Request, Response, compose_response, parse
from tests.integration.edge.torture_messages import MESSAGES

# What a user agent does with each: "ok", a status that it refuses with, or None (dropped).
EXPECTED: dict[str, str | int | None] = {
    "wsinv": "ok", "intmeth": "ok", "esc01": "ok", "escnull": "ok", "esc02": "ok", "lwsdisp": "ok",
    "longreq": "ok", "dblreq": "ok", "semiuri": "ok", "transports": "ok", "mpart01": "ok",
    "unreason": "ok", "noreason": "ok", "badinv01": None, "clerr": 400, "ncl": 400,
    "scalar02": 400, "scalarlg": None, "quotbal": 400, "ltgtruri": 400, "lwsruri": 400,
    "lwsstart": 400, "trws": "ok", "escruri": "ok", "baddate": "ok", "regbadct": "ok",
    "badaspec": "ok", "baddn": "ok", "badvers": None, "mismatch01": 400, "mismatch02": 400,
    "bigcode": None, "badbranch": "ok", "insuf": 400, "unkscm": "ok", "novelsc": "ok",
    "unksm2": "ok", "bext01": "ok", "invut": "ok", "regaut01": "ok", "multi01": 400, "mcl01": 400,
    "bcast": "ok", "zeromf": "ok", "cparam01": "ok", "cparam02": "ok", "regescrt": "ok",
    "sdp01": "ok", "inv2543": "ok",
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_torture(name: str) -> None:
    message = parse(MESSAGES[name])
    expected = EXPECTED[name]
    if expected is None:
        assert message is None
    elif expected == "ok":
        assert isinstance(message, Response) or (message is not None and message.problem is None)
    else:
        assert isinstance(message, Request)
        assert message.problem is not None
        assert message.problem[0] == expected
        assert compose_response(message, 400, ("192.0.2.1", 5060)).startswith(b"SIP/2.0 400 ")


def test_folded_and_strange() -> None:
    message = parse(MESSAGES["wsinv"])
    assert isinstance(message, Request)
    assert (message.method, message.cseq) == ("INVITE", 9)
    assert message.to_tag == "1918181833n"
    assert message.from_tag == "98asjd8"
    assert (message.via.transport, message.via.host) == ("udp", "192.0.2.2")
    assert message.headers.get("newfangledheader") == "newfangled value continued newfangled value"
    assert len(message.headers.values("via")) == 3


@pytest.mark.parametrize("bad", [b"a\nb", b"a\xfcb", "a\u00fcb".encode(), b"a b", b"a\0b"])
def test_what_names_a_dialog_is_plain(bad: bytes) -> None:
    whole = MESSAGES["wsinv"]
    of_call = whole.replace(b"wsinv.ndaksdj@192.0.2.1", bad)
    tag = whole.replace(b"98asjd8", bad)
    assert of_call != whole != tag
    for data in (of_call, tag):
        message = parse(data)
        assert isinstance(message, Request)
        assert message.problem is not None
        assert message.problem[0] == 400


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    parse(data)


@given(st.sampled_from(sorted(MESSAGES)), st.data())
def test_damaged(name: str, data: st.DataObject) -> None:
    """A message with anything changed, cut or put in is read, refused or dropped."""
    whole = MESSAGES[name]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    message = parse(whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:])
    if isinstance(message, Request):
        answer = compose_response(message, 200, ("192.0.2.1", 5060), tag="x")
        assert answer.count(b"\r\n\r\n") == 1
