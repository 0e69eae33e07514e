"""Messages in a stream: RFC 3261 sections 7.5 and 18.3. Pure."""

from __future__ import annotations

import re

from services.core.sip.errors import MalformedError

MAX_HEAD = 32 * 1024
MAX_BODY = 256 * 1024
KEEP_ALIVE = b"\r\n\r\n"
PONG = b"\r\n"
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:\s*(\d{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)


class Framing:
    """Bytes in, whole messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    @property
    def partial(self) -> bool:
        """A message has begun and is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now; a keep-alive is `KEEP_ALIVE` (RFC 5626 section 3.5.1).

        `MalformedError` where the stream cannot be followed any more: it has to be closed.
        """
        self._buffer += data
        messages: list[bytes] = []
        while self._buffer:
            message = self._blank() if self._buffer.startswith(b"\r") else self._message()
            if message is None:
                break
            if message:
                messages.append(message)
        return messages

    def _blank(self) -> bytes | None:
        """A keep-alive, nothing for an empty line before a message, None if more is to come."""
        buffer = self._buffer
        if buffer.startswith(KEEP_ALIVE):
            del buffer[:4]
            return KEEP_ALIVE
        if KEEP_ALIVE.startswith(buffer):
            return None
        if not buffer.startswith(PONG):
            raise MalformedError("a carriage return alone")
        del buffer[:2]
        return b""

    def _message(self) -> bytes | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if (end if end >= 0 else len(buffer)) > MAX_HEAD:
            raise MalformedError("header fields too long")
        if end < 0:
            self._searched = len(buffer)
            return None
        lengths = _LENGTH.findall(buffer, 0, end + 2)
        if len(lengths) != 1:
            raise MalformedError("no Content-Length, or several, in a stream")
        if int(lengths[0]) > MAX_BODY:
            raise MalformedError("body too long")
        whole = end + 4 + int(lengths[0])
        if len(buffer) < whole:
            self._searched = end
            return None
        message = bytes(buffer[:whole])
        del buffer[:whole]
        self._searched = 0
        return message
