"""A party of calls under test: says and hears SIP messages one by one, and expects each by name.

It does only what a test tells it to, so that races and rudeness can be written down; what every
user agent does by itself (ACK of a refusal, answers to a repeated request) it does too.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

from tests.support.kamailio import PASSWORD
from tests.support.sip_client import Connection, challenge, digest

SDP = (
    "v=0\r\no=- 1 {version} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP {formats}\r\n{lines}"
)
PATIENCE = 15.0
"""Seconds for a message to come, on a machine that does much else."""
_MAPS = {
    "0": "PCMU/8000",
    "8": "PCMA/8000",
    "9": "G722/8000",
    "96": "opus/48000/2",
    "101": "telephone-event/8000",
}


def sdp(
    address: str, port: int = 40000, formats: str = "8 0", extra: str = "", version: int = 1
) -> str:
    """A plain audio offer or answer."""
    lines = "".join(f"a=rtpmap:{f} {_MAPS[f]}\r\n" for f in formats.split()) + extra
    return SDP.format(version=version, address=address, port=port, formats=formats, lines=lines)


class Message:
    """A request or a reply as received."""

    def __init__(self, data: bytes) -> None:
        self.text = data.decode()
        head, _, self.body = self.text.partition("\r\n\r\n")
        self.start, *lines = head.split("\r\n")
        self.headers = [
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        ]
        self.code = int(self.start.split(" ", 2)[1]) if self.start.startswith("SIP/2.0") else 0
        self.reason = self.start.split(" ", 2)[2] if self.code else ""
        self.method = "" if self.code else self.start.split(" ")[0]
        self.uri = "" if self.code else self.start.split(" ")[1]
        self.cseq = self.get("CSeq").split(" ")[-1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    @property
    def contact(self) -> str:
        match = re.search(r"<([^>]*)>", self.get("Contact"))
        return match[1] if match else self.get("Contact")

    @property
    def port(self) -> int:
        """The port of the first audio stream in the body."""
        match = re.search(r"m=audio (\d+)", self.body)
        return int(match[1]) if match else 0


def _transaction(request: Message) -> str:
    """What names a transaction at who answers it (RFC 3261 section 17.2.3)."""
    sent_by, *parameters = request.get("Via").split(";")
    branch = next((each for each in parameters if each.startswith("branch=")), "")
    return f"{request.method} {sent_by} {branch} {request.get('CSeq')}"


def tag_of(value: str) -> str:
    match = re.search(r";tag=([^;\s]+)", value)
    return match[1] if match else ""


class Dialog:
    """One side's view of a dialog (RFC 3261 section 12)."""

    def __init__(
        self, local: str, remote: str, call_id: str, target: str, routes: list[str], cseq: int
    ) -> None:
        self.local, self.remote, self.call_id = local, remote, call_id
        self.target, self.routes, self.cseq = target, routes, cseq


class Call:
    """An INVITE that this party has sent or received, and the dialog that came of it."""

    def __init__(self, party: Party, invite: Message) -> None:
        self.party, self.invite = party, invite
        self.tag = os.urandom(4).hex()
        self.dialog: Dialog | None = None
        self.call_id = invite.get("Call-ID")

    # --- as callee
    def reply(self, code: int, body: str = "", extra: str = "", to: Message | None = None) -> None:
        """Answer the INVITE, or another request."""
        self.party.reply(to or self.invite, code, body, extra, self.tag)
        if self.dialog is None and 100 < code < 300:
            routes = self.invite.all("Record-Route")
            self.dialog = Dialog(
                f"{self.invite.get('To')};tag={self.tag}",
                self.invite.get("From"),
                self.call_id,
                self.invite.contact,
                routes,
                0,
            )

    def answer(self, **more: str) -> Message:
        """200 with SDP; gives the ACK."""
        body = more.pop("body", sdp(self.party.address, 42000))
        self.reply(200, body, more.pop("extra", ""))
        return self.party.expect("ACK")

    # --- as caller
    def establish(self, reply: Message) -> None:
        """Take the dialog from a reply (its route set is Record-Route backwards)."""
        self.dialog = Dialog(
            self.invite.get("From"),
            reply.get("To"),
            self.call_id,
            reply.contact,
            list(reversed(reply.all("Record-Route"))),
            int(self.invite.get("CSeq").split()[0]),
        )

    def expect(self, code: int, seconds: float = PATIENCE) -> Message:
        """A reply to the INVITE with this status; others with a status below it are passed over."""
        reply = self.party.expect_reply("INVITE", code, seconds, self.call_id)
        if 100 < code < 300:
            self.establish(reply)
        if code >= 300:
            self.party.acknowledge(self.invite, reply)
        return reply

    def ack(self, body: str = "") -> None:
        assert self.dialog
        self.party.send(self.request("ACK", body=body, same=True))

    def cancel(self) -> None:
        self.party.send(
            self.party.text(
                "CANCEL",
                self.invite.uri,
                [
                    f"Via: {self.invite.get('Via')}",
                    f"From: {self.invite.get('From')}",
                    f"To: {self.invite.get('To')}",
                    f"Call-ID: {self.call_id}",
                    f"CSeq: {self.invite.get('CSeq').split()[0]} CANCEL",
                ],
            )
        )

    # --- either
    def request(self, method: str, body: str = "", extra: str = "", *, same: bool = False) -> str:
        """A request in the dialog, not sent."""
        dialog = self.dialog
        assert dialog
        if not same:
            dialog.cseq += 1
        lines = [
            f"Via: {self.party.via()}",
            *(f"Route: {route}" for route in dialog.routes),
            f"From: {dialog.local}",
            f"To: {dialog.remote}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {dialog.cseq} {method}",
            f"Contact: {self.party.contact}",
        ]
        return self.party.text(method, dialog.target, lines, body, extra)

    def say(self, method: str, body: str = "", extra: str = "") -> None:
        self.party.send(self.request(method, body, extra))

    def expect_final(self, method: str, code: int) -> Message:
        """The final reply to the last request that was said, not one to an earlier request."""
        dialog = self.dialog
        assert dialog
        wanted = self.call_id, f"{dialog.cseq} {method}"
        reply = self.party.wait(
            lambda m: m.code >= 200 and (m.get("Call-ID"), m.get("CSeq")) == wanted,
            f"{code} to {method}",
        )
        assert reply.code == code, f"{self.party.extension}: {reply.text}"
        return reply

    def hang_up(self) -> None:
        self.say("BYE")
        self.party.expect_reply("BYE", 200)


class Party:
    """A user agent at one address. ``domain`` and ``extension`` make its address of record."""

    def __init__(
        self, connection: Connection, extension: str, domain: str, password: str = PASSWORD
    ) -> None:
        self.connection, self.extension, self.domain = connection, extension, domain
        self.password = password
        transport = connection.transport
        host = "client.invalid" if transport == "WSS" else connection.address
        self.address = connection.address
        suffix = {"UDP": "", "WSS": ";transport=ws"}.get(
            transport, f";transport={transport.lower()}"
        )
        self.contact = f"<sip:{extension}@{host}:{connection.port}{suffix}>"
        self._via = f"SIP/2.0/{transport} {host}:{connection.port};rport;branch=z9hG4bK"
        self.aor = f"<sip:{extension}@{domain}>"
        self.heard: list[Message] = []
        self._seen: set[str] = set()
        self._answers: dict[str, bytes] = {}

    def via(self) -> str:
        return self._via + os.urandom(6).hex()

    def text(self, method: str, uri: str, lines: list[str], body: str = "", extra: str = "") -> str:
        kind = "Content-Type: application/sdp\r\n" if body and "Content-Type" not in extra else ""
        head = "\r\n".join([f"{method} {uri} SIP/2.0", *lines, "Max-Forwards: 70"])
        return f"{head}\r\n{extra}{kind}Content-Length: {len(body.encode())}\r\n\r\n{body}"

    def send(self, text: str) -> Message:
        self.connection.send(text.encode())
        return Message(text.encode())

    def reply(
        self, request: Message, code: int, body: str = "", extra: str = "", tag: str = "x"
    ) -> None:
        to = request.get("To")
        lines = [
            f"SIP/2.0 {code} {'OK' if code == 200 else 'Because'}",
            *(f"Via: {via}" for via in request.all("Via")),
            *(f"Record-Route: {route}" for route in request.all("Record-Route")),
            f"From: {request.get('From')}",
            f"To: {to if ';tag=' in to else f'{to};tag={tag}'}",
            f"Call-ID: {request.get('Call-ID')}",
            f"CSeq: {request.get('CSeq')}",
        ]
        if "Contact:" not in extra:
            lines.append(f"Contact: {self.contact}")
        kind = "Content-Type: application/sdp\r\n" if body else ""
        end = f"{extra}{kind}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        message = ("\r\n".join(lines) + "\r\n" + end).encode()
        self._answers[_transaction(request)] = message
        self.connection.send(message)

    # --- hearing
    def wait(
        self, wanted: Callable[[Message], bool], what: str, seconds: float = PATIENCE
    ) -> Message:
        """The first message that fits, heard already or in ``seconds``; the rest is kept."""
        for message in self.heard:
            if wanted(message):
                self.heard.remove(message)
                return message
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                data = self.connection.receive(left)
            except TimeoutError:
                break
            if not data.strip():
                continue
            message = Message(data)
            if message.method == "OPTIONS":
                self.reply(message, 200)
                continue
            if message.code == 100:
                continue
            if message.method and message.method != "ACK":
                transaction = _transaction(message)
                if transaction in self._seen:
                    # The last answer, again (RFC 3261 section 17.2).
                    if transaction in self._answers:
                        self.connection.send(self._answers[transaction])
                    continue
                self._seen.add(transaction)
            if wanted(message):
                return message
            self.heard.append(message)
        heard = "\n".join(message.start + " / " + message.get("CSeq") for message in self.heard)
        raise AssertionError(f"{self.extension}: waited {seconds} s for {what}; heard:\n{heard}")

    def expect(self, method: str, seconds: float = PATIENCE, call_id: str = "") -> Message:
        """A request."""
        return self.wait(
            lambda m: m.method == method and call_id in ("", m.get("Call-ID")), method, seconds
        )

    def expect_reply(
        self, method: str, code: int, seconds: float = PATIENCE, call_id: str = ""
    ) -> Message:
        """The reply with this status; a final one with another status fails at once."""

        def wanted(message: Message) -> bool:
            if not message.code or message.cseq != method:
                return False
            return call_id in ("", message.get("Call-ID")) and (
                message.code == code or message.code >= 200
            )

        reply = self.wait(wanted, f"{code} to {method}", seconds)
        assert reply.code == code, f"{self.extension}: {reply.text}"
        return reply

    def silent(self, method: str, seconds: float = 0.4) -> None:
        """Nothing with this method comes."""
        try:
            heard = self.expect(method, seconds)
        except AssertionError:
            return
        raise AssertionError(f"{self.extension} heard {method}:\n{heard.text}")

    # --- calls
    def register(self, contact: str = "", extra: str = "") -> None:
        """Register one contact."""
        lines = f"Contact: {contact or self.contact}{extra}\r\nExpires: 600\r\n"
        reply = self.authenticated("REGISTER", f"sip:{self.domain}", self.aor, lines)
        assert reply.code == 200, reply.text

    def authenticated(
        self, method: str, uri: str, to: str, extra: str = "", body: str = "", **parts: str
    ) -> Message:
        """Send a request out of a dialog, answer the challenge, give the final reply."""
        invite = self.start(method, uri, to, extra, body, **parts)
        return self.wait(
            lambda m: m.code >= 200 and m.get("Call-ID") == invite.get("Call-ID"), method
        )

    def start(
        self, method: str, uri: str, to: str, extra: str = "", body: str = "", **parts: str
    ) -> Message:
        """Send a request out of a dialog, answer its challenge, give the request as last sent."""
        call_id = parts.get("call_id") or f"{os.urandom(8).hex()}@{self.address}"
        aor = parts.get("from_") or self.aor
        tag = os.urandom(4).hex()
        credentials = ""
        for sequence in (1, 2):
            lines = [
                f"Via: {self.via()}",
                f"From: {aor};tag={tag}",
                f"To: {to}",
                f"Call-ID: {call_id}",
                f"CSeq: {sequence} {method}",
            ]
            if method != "REGISTER":
                lines.append(f"Contact: {self.contact}")
            sent = self.send(self.text(method, uri, lines, body, extra + credentials))
            if sequence == 2 or parts.get("plain"):
                return sent
            first = self.wait(
                lambda m: bool(m.code) and m.get("Call-ID") == call_id, f"an answer to {method}"
            )
            if first.code not in (401, 407):
                self.heard.insert(0, first)
                return sent
            if method == "INVITE":
                self.acknowledge(sent, first)
            name = "Authorization" if first.code == 401 else "Proxy-Authorization"
            asked = challenge(first)  # type: ignore[arg-type]
            answer = digest(asked, method, uri, self.extension, self.password)
            credentials = f"{name}: {answer}\r\n"
        raise AssertionError("unreachable")

    def call(self, target: str, body: str | None = None, extra: str = "", **parts: str) -> Call:
        """INVITE ``target`` (a user part, or a whole URI)."""
        uri = target if ":" in target else f"sip:{target}@{self.domain}"
        offer = sdp(self.address, 40000) if body is None else body
        return Call(self, self.start("INVITE", uri, f"<{uri}>", extra, offer, **parts))

    def invited(self, seconds: float = PATIENCE) -> Call:
        """The next INVITE that starts a call."""
        return Call(self, self.expect("INVITE", seconds))

    def acknowledge(self, invite: Message, reply: Message) -> None:
        """ACK of a refusal (RFC 3261 section 17.1.1.3)."""
        lines = [
            f"Via: {invite.get('Via')}",
            f"From: {invite.get('From')}",
            f"To: {reply.get('To')}",
            f"Call-ID: {invite.get('Call-ID')}",
            f"CSeq: {invite.get('CSeq').split()[0]} ACK",
        ]
        self.send(self.text("ACK", invite.uri, lines))


def connect(caller: Party, callee: Party, target: str = "", **more: str) -> tuple[Call, Call]:
    """A call that is up: both sides."""
    out = caller.call(target or callee.extension, **more)
    into = callee.invited()
    into.reply(180)
    out.expect(180)
    into.reply(200, sdp(callee.address, 42000))
    out.expect(200)
    out.ack()
    callee.expect("ACK")
    return out, into
