"""What travels between managers and the servers that they probe: bytes to messages and back.

`Probe` from a manager, `Answer` from a server that is well, `Ack` from the manager at once; and
`Notice` of a write to the registry, so that others need not wait to hear of it from there. Each is
MessagePack behind a MAC (BLAKE2s, RFC 7693, keyed with the cluster's key). A copy of an old one
does nothing: an answer counts only for a probe that is open, an ack only for a stamp of this boot
that is younger than a lease, a notice only as an old picture of the registry would.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

LARGEST = 1400
"""Bytes; a datagram must fit a frame, since a lost fragment is a lost probe."""
_MAC = 16
_PERSON = b"pbxprobe"
_ARRAY = 4
"""Most bytes that the head of a longer array has more."""


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A session that the sender holds by, or will; ``index`` is the registry's at its creation."""

    session: str
    index: int


class Probe(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """``boot`` tells one start of the manager from another; ``target`` is ``<role>/<server>``."""

    manager: str
    boot: int
    sequence: int
    target: str


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """From ``source`` to the probe of ``manager_boot`` and ``sequence``.

    ``stamp`` is the sender's own clock in ns, which means something to the sender alone.
    """

    source: str
    boot: int
    manager_boot: int
    sequence: int
    stamp: int
    claims: tuple[Claim, ...] = ()


class Ack(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """``boot`` and ``stamp`` are the answer's. ``granted``: the sessions that may hold on.

    ``down``: members that this manager cannot reach, its own opinion; see `with_down`.
    """

    manager: str
    boot: int
    stamp: int
    granted: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


class Notice(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """What the registry has just confirmed to the sender: a name, and suspicions by their index.

    Consul's followers learn of a write up to 50 ms later than who wrote it. Like any picture of
    the registry it may be old, and who acts by it names the indexes.
    """

    name: str
    member: str
    epoch: str
    index: int
    session: str = ""
    released: bool = False
    successor: str = ""
    suspicions: dict[str, int] = {}
    relayed: bool = False


Message = Probe | Answer | Ack | Notice

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(key: bytes, message: Message) -> bytes:
    """The datagram. ``key`` is 1 to 32 bytes."""
    body = _encoder.encode(message)
    return _mac(key, body) + body


def decode(key: bytes, datagram: bytes) -> Message | None:
    """The message, or None for what no member of this cluster sent."""
    if not _MAC < len(datagram) <= LARGEST:
        return None
    body = datagram[_MAC:]
    if not hmac.compare_digest(_mac(key, body), datagram[:_MAC]):
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def with_down(ack: Ack, down: Iterable[str]) -> Ack:
    """``ack`` with as many of ``down`` as its datagram has room for, the first ones."""
    room = LARGEST - _MAC - len(_encoder.encode(ack)) - _ARRAY
    told: list[str] = []
    for member in down:
        room -= len(_encoder.encode(member))
        if room < 0:
            break
        told.append(member)
    return msgspec.structs.replace(ack, down=tuple(told)) if told else ack


def _mac(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2s(body, digest_size=_MAC, key=key, person=_PERSON).digest()
