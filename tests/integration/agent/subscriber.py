"""A phone's side of a subscription to a voicemail box (RFC 3842), one message at a time."""

from __future__ import annotations

import secrets

from tests.integration.calls.party import Message, Party
from tests.support.sip_client import challenge, digest


class Subscriber:
    """A phone's side of a subscription to a box."""

    def __init__(self, phone: Party, whose: str = "2001") -> None:
        self.phone = phone
        self.whose = whose
        self.call_id = f"{secrets.token_hex(8)}@{phone.address}"
        self.tag = secrets.token_hex(4)
        self.to = f"<sip:{whose}@{phone.domain}>"
        self.target = f"sip:{whose}@{phone.domain}"
        self.number = 0
        self.notified = 0

    def ask(self, expires: str, credentials: str = "", event: str = "message-summary") -> Message:
        """One SUBSCRIBE and its answer."""
        self.number += 1
        lines = [
            f"Via: {self.phone.via()}",
            f"From: {self.phone.aor};tag={self.tag}",
            f"To: {self.to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.number} SUBSCRIBE",
            f"Contact: {self.phone.contact}",
        ]
        extra = f"Event: {event}\r\nExpires: {expires}\r\n{credentials}"
        self.phone.send(self.phone.text("SUBSCRIBE", self.target, lines, "", extra))
        return self.phone.wait(
            lambda m: m.code >= 200 and m.get("CSeq") == f"{self.number} SUBSCRIBE", "an answer"
        )

    def subscribe(self, expires: str = "600") -> Message:
        """Its final answer, the challenge met."""
        first = self.ask(expires)
        assert first.code == 401, first.text
        asked = challenge(first)  # type: ignore[arg-type]
        with_ = digest(asked, "SUBSCRIBE", self.target, self.phone.extension)
        answer = self.ask(expires, f"Authorization: {with_}\r\n")
        if answer.code == 200 and self.to.endswith(">"):
            self.to = answer.get("To")
            self.target = answer.contact
        return answer

    def told(self) -> Message:
        """The next NOTIFY of it; their numbers rise."""
        notify = self.phone.wait(
            lambda m: m.method == "NOTIFY" and m.get("Call-ID") == self.call_id, "NOTIFY"
        )
        self.phone.reply(notify, 200)
        assert notify.get("From") == self.to, notify.text
        assert notify.get("To").endswith(f";tag={self.tag}")
        number = int(notify.get("CSeq").split()[0])
        assert number > self.notified
        self.notified = number
        return notify
