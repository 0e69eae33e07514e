"""A SIP client for tests: requests are text, so that it can also write what no phone would."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import ssl
import struct
from itertools import count

from tests.support.kamailio import PASSWORD, REALM

_number = count(1)


class Reply:
    """A response as received. ``headers`` are (lower-case name, value) in order."""

    def __init__(self, data: bytes) -> None:
        text = data.decode(errors="replace")
        head, _, self.body = text.partition("\r\n\r\n")
        lines = head.split("\r\n")
        self.line = lines[0]
        self.code = int(lines[0].split(" ", 2)[1])
        self.reason = lines[0].split(" ", 2)[2]
        self.headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:])
        ]

    def all(self, name: str) -> list[str]:
        """Every value of a header field."""
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        """The first value of a header field, or ""."""
        return next(iter(self.all(name)), "")


def digest(
    challenge: str,
    method: str,
    uri: str,
    username: str,
    password: str = PASSWORD,
    *,
    nc: int = 1,
    cnonce: str = "0a4f113b",
) -> str:
    """Credentials that answer a challenge (RFC 7616 3.4.1), computed apart from the product."""
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.partition(" ")[2]))

    def h(text: str) -> str:
        kind = "sha256" if fields["algorithm"] == "SHA-256" else "md5"
        return hashlib.new(kind, text.encode()).hexdigest()

    ha1 = h(f"{username}:{fields['realm']}:{password}")
    count_ = f"{nc:08x}"
    response = h(f"{ha1}:{fields['nonce']}:{count_}:{cnonce}:auth:{h(f'{method}:{uri}')}")
    return (
        f'Digest username="{username}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", '
        f'uri="{uri}", response="{response}", algorithm={fields["algorithm"]}, '
        f'qop=auth, nc={count_}, cnonce="{cnonce}"'
    )


class Udp:
    """Messages over UDP from ``address``; ``port`` 0 takes a free one."""

    transport = "UDP"

    def __init__(self, server: str, address: str, port: int = 5060) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.server = (server, 5060)
        self.address, self.port = self._socket.getsockname()

    def send(self, message: bytes) -> None:
        self._socket.sendto(message, self.server)

    def receive(self, seconds: float = 10) -> bytes:
        """One message. Raises TimeoutError."""
        self._socket.settimeout(seconds)
        return self._socket.recv(65536)

    def close(self) -> None:
        self._socket.close()


class Stream:
    """Messages over TCP or TLS, framed by Content-Length (RFC 3261 18.3)."""

    def __init__(self, server: str, address: str, *, tls: bool = False, port: int = 0) -> None:
        self.transport = "TLS" if tls else "TCP"
        self._buffer = b""
        target = (server, port or (5061 if tls else 5060))
        self._socket: socket.socket = socket.create_connection(
            target, timeout=5, source_address=(address, 0)
        )
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket)
        self.address, self.port = self._socket.getsockname()[:2]

    def send(self, message: bytes) -> None:
        self._socket.sendall(message)

    def receive(self, seconds: float = 10) -> bytes:
        """One message. Raises TimeoutError; ConnectionError if it was closed."""
        self._socket.settimeout(seconds)
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            length = re.search(rb"\r\n(?:Content-Length|l):\s*(\d+)", head, re.IGNORECASE)
            if end and length and len(rest) >= int(length[1]):
                size = int(length[1])
                self._buffer = rest[size:]
                return head + end + rest[:size]
            self._buffer += self.read()

    def read(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the Call Manager")
        return data

    def close(self) -> None:
        self._socket.close()


class WebSocket(Stream):
    """SIP over secure WebSocket (RFC 7118)."""

    def __init__(self, server: str, address: str, port: int = 8443) -> None:
        super().__init__(server, address, tls=True, port=port)
        self.transport = "WSS"
        key = base64.b64encode(os.urandom(16)).decode()
        super().send(
            (
                f"GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: sip\r\n"
                "Sec-WebSocket-Version: 13\r\nOrigin: https://pbx.test\r\n\r\n"
            ).encode()
        )
        self._socket.settimeout(5)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.read()
        head, _, self._buffer = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    def send(self, message: bytes) -> None:
        self.send_frame(0x81, message)

    def send_frame(self, first: int, payload: bytes) -> None:
        """One masked frame (RFC 6455 5.2); ``first`` is its first byte."""
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        super().send(bytes([first]) + length + mask + masked)

    def send_raw(self, data: bytes) -> None:
        super().send(data)

    def receive(self, seconds: float = 10) -> bytes:
        """The payload of the next frame with data in it."""
        self._socket.settimeout(seconds)
        while True:
            while len(self._buffer) < 2:
                self._buffer += self.read()
            size, start = self._buffer[1] & 0x7F, 2
            if size == 126:
                while len(self._buffer) < 4:
                    self._buffer += self.read()
                size, start = struct.unpack(">H", self._buffer[2:4])[0], 4
            while len(self._buffer) < start + size:
                self._buffer += self.read()
            kind, payload = self._buffer[0] & 0x0F, self._buffer[start : start + size]
            self._buffer = self._buffer[start + size :]
            if kind in (1, 2):
                return payload


Connection = Udp | Stream | WebSocket


class Phone:
    """A user agent of ``extension``. Requests are methods; ``extra`` are header lines."""

    def __init__(self, connection: Connection, extension: str, domain: str = REALM) -> None:
        self.connection, self.extension, self.domain = connection, extension, domain
        self.call_id = f"{os.urandom(6).hex()}{next(_number)}"
        self.sequence = 0
        host = "client.invalid" if connection.transport == "WSS" else connection.address
        transport = connection.transport.lower()
        suffix = (
            "" if transport == "udp" else f";transport={'ws' if transport == 'wss' else transport}"
        )
        self.contact = f"<sip:{extension}@{host}:{connection.port}{suffix}>"
        self.via = f"SIP/2.0/{connection.transport} {host}:{connection.port};rport"

    def request(
        self, method: str, uri: str, extra: str = "", body: str = "", **parts: str
    ) -> bytes:
        """A request's bytes. ``parts`` replace ``via from_ to call_id cseq``."""
        self.sequence += 1
        aor = f"<sip:{self.extension}@{self.domain}>"
        fields = {
            "via": f"{self.via};branch=z9hG4bK{os.urandom(6).hex()}",
            "from_": f"{aor};tag={os.urandom(4).hex()}",
            "to": aor,
            "call_id": self.call_id,
            "cseq": f"{self.sequence} {method}",
        } | parts
        return (
            f"{method} {uri} SIP/2.0\r\nVia: {fields['via']}\r\nFrom: {fields['from_']}\r\n"
            f"To: {fields['to']}\r\nCall-ID: {fields['call_id']}\r\nCSeq: {fields['cseq']}\r\n"
            f"{'' if 'Max-Forwards' in extra else 'Max-Forwards: 70' + chr(13) + chr(10)}"
            f"{extra}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        ).encode()

    def send(self, message: bytes, seconds: float = 10) -> Reply:
        """Send and give the answer, provisional ones and pings of others passed over."""
        self.connection.send(message)
        return self.reply(seconds)

    def reply(self, seconds: float = 10) -> Reply:
        while True:
            data = self.connection.receive(seconds)
            if data.startswith(b"SIP/2.0 ") and not data.startswith(b"SIP/2.0 1"):
                return Reply(data)

    def register(
        self,
        contact: str = "",
        *,
        algorithm: str = "SHA-256",
        password: str = PASSWORD,
        expires: int | str = 600,
        extra: str = "",
        username: str = "",
    ) -> Reply:
        """Register as phones do: without credentials, then with; gives the last answer."""
        uri = f"sip:{self.domain}"
        lines = f"Contact: {contact or self.contact}\r\nExpires: {expires}\r\n{extra}"
        first = self.send(self.request("REGISTER", uri, lines))
        if first.code != 401:
            return first
        credentials = digest(
            challenge(first, algorithm), "REGISTER", uri, username or self.extension, password
        )
        return self.send(self.request("REGISTER", uri, f"{lines}Authorization: {credentials}\r\n"))

    def fetch(self) -> Reply:
        """The bindings, by a REGISTER without Contact."""
        uri = f"sip:{self.domain}"
        first = self.send(self.request("REGISTER", uri))
        credentials = digest(challenge(first), "REGISTER", uri, self.extension)
        return self.send(self.request("REGISTER", uri, f"Authorization: {credentials}\r\n"))


def challenge(reply: Reply, algorithm: str = "SHA-256") -> str:
    """The challenge for an algorithm in a 401 or 407."""
    name = "WWW-Authenticate" if reply.code == 401 else "Proxy-Authenticate"
    return next(value for value in reply.all(name) if f"algorithm={algorithm}" in value)
