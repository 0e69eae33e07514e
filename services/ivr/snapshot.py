"""A call as it is written to live state, for another server to go on with. Pure.

It is written whenever it changes and about once a second while something plays: who goes on says
a second again at most, and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.core.passport import Passport
from services.ivr.call import State

VERSION = 1
KEYS = 64
"""Keys that are remembered, here and by media servers."""
FRESH = 10.0
"""Seconds for which a key that nobody has heard is still meant."""
MISSING = 2
"""What it costs to believe that a log lacks a key, where one for nothing heard costs 1."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """``caller`` and ``callee`` are exports (`services.core.sip`), the second where there is one.

    ``heard`` are the caller's keys that the machine has been told. ``dialling`` is the Call-ID of
    a call that rings, ``tape`` the name of what is recorded (`services.ivr.tapes`).
    """

    version: int = VERSION
    state: State
    ticket: Passport
    caller: bytes
    heard: str = ""
    callee: bytes = b""
    dialling: str = ""
    tape: str = ""


class _Version(msgspec.Struct):
    version: int


_encoder = msgspec.msgpack.Encoder()


def dump(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes: 2 to 6 kB as a rule."""
    return _encoder.encode(snapshot)


def load(data: bytes) -> Snapshot:
    """The snapshot in bytes. Raises ValueError if it is none, or of another version."""
    try:
        version = msgspec.msgpack.decode(data, type=_Version).version
        if version != VERSION:
            raise ValueError(f"written by version {version}; this is version {VERSION}")
        return msgspec.msgpack.decode(data, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"no snapshot of a call: {error}") from None


def unheard(heard: str, since: str, logged: Sequence[tuple[str, float]]) -> str:
    """The keys that were pressed while nobody listened.

    ``logged`` are all keys of the call with their age in seconds, the oldest first, as a media
    server saw them; ``heard`` is what the server that is gone was told, ``since`` what this one
    has heard already. Any of them may lack some keys, or hold only the last `KEYS`: what fits best
    counts, and in doubt a key was heard.
    """
    keys = "".join(key for key, _ in logged)
    end = len(keys) - _overlap(keys, since)
    begin = _explained(heard, keys[:end], full=len(keys) >= KEYS)
    return "".join(key for key, age in logged[begin:end] if age <= FRESH)


def _overlap(keys: str, since: str) -> int:
    """How many of the last keys are those that were heard first since."""
    return next((n for n in range(len(since), 0, -1) if keys.endswith(since[:n])), 0)


def _explained(heard: str, keys: str, *, full: bool) -> int:
    """How many of the first ``keys`` were heard, by the least edits (missing and added ones)."""
    # Of a full log the start was forgotten: to leave out keys there costs nothing.
    row = [0 if full else at for at in range(len(keys) + 1)]
    for key in heard:
        before, row = row, [row[0] + MISSING]
        for at, other in enumerate(keys, 1):
            edits = [before[at] + MISSING, row[at - 1] + 1]
            row.append(min([*edits, before[at - 1]] if key == other else edits))
    least = min(row)
    return max(at for at, cost in enumerate(row) if cost == least)
