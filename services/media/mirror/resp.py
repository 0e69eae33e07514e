"""Redis' protocol, version 2, from the server's side: pure.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/. Of its requests only what
client libraries send, arrays of bulk strings.
"""

from __future__ import annotations

from typing import TypeAlias

Reply: TypeAlias = "str | int | bytes | list[Reply] | None"
"""A ``str`` is a simple string, ``bytes`` a bulk string, None a null one."""

MAX_WORDS = 1024
MAX_WORD = 4 << 20


class ProtocolError(Exception):
    """What came is no request; the connection cannot go on."""


class Requests:
    """Bytes in, requests out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The requests that are complete now, as lists of words. Raises ProtocolError."""
        self._buffer += data
        found: list[list[bytes]] = []
        while (request := self._next()) is not None:
            found.append(request)
        return found

    def _next(self) -> list[bytes] | None:
        line = self._line(0)
        if line is None:
            return None
        count, at = self._number(line[0], b"*", MAX_WORDS), line[1]
        words: list[bytes] = []
        for _ in range(count):
            line = self._line(at)
            if line is None:
                return None
            length, at = self._number(line[0], b"$", MAX_WORD), line[1]
            if len(self._buffer) < at + length + 2:
                return None
            words.append(bytes(self._buffer[at : at + length]))
            at += length + 2
        del self._buffer[:at]
        return words

    def _line(self, start: int) -> tuple[bytes, int] | None:
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            if len(self._buffer) - start > 64:
                raise ProtocolError("a length is expected, and no line ends")
            return None
        return bytes(self._buffer[start:end]), end + 2

    @staticmethod
    def _number(line: bytes, kind: bytes, most: int) -> int:
        digits = line[1:]
        if line[:1] != kind or not digits.isdigit() or len(digits) > 9 or int(digits) > most:
            raise ProtocolError(f"{kind.decode()} and a length is expected, not {line[:20]!r}")
        return int(digits)


def encode(reply: Reply) -> bytes:
    """A reply's bytes."""
    match reply:
        case None:
            return b"$-1\r\n"
        case str():
            return b"+%s\r\n" % reply.encode()
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(encode(one) for one in reply)


def encode_error(text: str) -> bytes:
    """An error's bytes."""
    return b"-ERR %s\r\n" % text.replace("\r", " ").replace("\n", " ").encode()
