from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.mirror.resp import MAX_WORD, ProtocolError, Requests, encode, encode_error

words = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


def request(parts: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


@given(st.lists(words, max_size=5), st.integers(1, 7))
def test_requests_come_out_as_they_went_in_whatever_the_pieces(
    requests: list[list[bytes]], piece: int
) -> None:
    data = b"".join(map(request, requests))
    reader = Requests()
    found = [r for at in range(0, len(data), piece) for r in reader.feed(data[at : at + piece])]
    assert found == requests


@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n",
        b"*x\r\n",
        b"*-1\r\n",
        b"*1\r\n+OK\r\n",
        b"*1\r\n$%d\r\n" % (MAX_WORD + 1),
        b"*99999\r\n",
        b"a" * 100,
    ],
)
def test_what_is_no_request_ends_the_connection(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Requests().feed(data)


@given(st.binary(max_size=200))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    try:
        Requests().feed(data)
    except ProtocolError:
        return


def test_replies() -> None:
    assert encode("OK") == b"+OK\r\n"
    assert encode(7) == b":7\r\n"
    assert encode(None) == b"$-1\r\n"
    assert encode([b"a", [b"", 1]]) == b"*2\r\n$1\r\na\r\n*2\r\n$0\r\n\r\n:1\r\n"
    assert encode_error("no\r\nway") == b"-ERR no  way\r\n"
