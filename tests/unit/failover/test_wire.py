"""Datagrams between managers and servers."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.core.failover.wire import (
    LARGEST,
    Ack,
    Answer,
    Claim,
    Message,
    Notice,
    Probe,
    decode,
    encode,
    with_down,
)

KEY = b"k" * 32
numbers = st.integers(0, 2**63 - 1)
texts = st.text(max_size=40)
claims = st.builds(Claim, texts, numbers)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Probe, texts, numbers, numbers, texts),
    st.builds(
        Answer, texts, numbers, numbers, numbers, numbers, st.lists(claims, max_size=3).map(tuple)
    ),
    st.builds(Ack, texts, numbers, numbers, st.lists(texts, max_size=3).map(tuple), st.just(())),
    st.builds(Notice, texts, texts, texts, numbers, texts, st.booleans(), texts),
)


@given(messages)
def test_what_was_sent_is_what_arrives(message: Message) -> None:
    assert decode(KEY, encode(KEY, message)) == message


@given(messages, st.data())
def test_a_changed_byte_is_nobodys_message(message: Message, data: st.DataObject) -> None:
    datagram = bytearray(encode(KEY, message))
    at = data.draw(st.integers(0, len(datagram) - 1))
    datagram[at] ^= data.draw(st.integers(1, 255))
    assert decode(KEY, bytes(datagram)) is None


@given(st.binary(max_size=2000))
def test_noise_is_ignored(datagram: bytes) -> None:
    assert decode(KEY, datagram) is None


def test_another_clusters_key_opens_nothing() -> None:
    assert decode(b"o" * 32, encode(KEY, Probe("cm1", 1, 1, "media/ms1"))) is None


def test_a_body_that_is_no_message_is_ignored_though_it_is_signed() -> None:
    for body in ({"manager": "cm1"}, ["p", 1, 2], ["x"], 7):
        whole = encode(KEY, Probe("cm1", 1, 1, "media/ms1"))
        assert decode(KEY, whole) is not None
        assert decode(KEY, _signed(msgspec.msgpack.encode(body))) is None


@given(st.lists(st.text(max_size=60), max_size=4).map(tuple), st.lists(st.text(max_size=300)))
def test_as_many_are_down_as_a_datagram_holds(granted: tuple[str, ...], down: list[str]) -> None:
    ack = with_down(Ack("cm1", 2**63, 2**63, granted), down)
    datagram = encode(KEY, ack)
    assert len(datagram) <= LARGEST
    assert list(ack.down) == down[: len(ack.down)]
    left = down[len(ack.down) :]
    assert not left or len(datagram) + len(left[0].encode()) + 7 > LARGEST


def _signed(body: bytes) -> bytes:
    import hashlib

    return hashlib.blake2s(body, digest_size=16, key=KEY, person=b"pbxprobe").digest() + body
