"""UDP with what every SIP user agent does below its dialogs (RFC 3261 sections 13.3.1.4 and 17).

Requests are sent again until they are answered, answers given again to repeated requests, 2xx to
an INVITE until its ACK, ACKs again to a repeated 2xx. Who uses it sees each message once, but an
answer that it owes an ACK. A scripted party alone hears only when it listens, and loses calls over
a packet that no phone would miss.
"""

from __future__ import annotations

import queue
import re
import threading
import time

from tests.support.sip_client import Udp

T1, T2, GIVE_UP = 0.5, 4.0, 32.0
"""Seconds (RFC 3261 section 17.1.1.1): the first wait for an answer, the longest, all of them."""
POLL = 0.05

Key = tuple[str, str]


class _Repeated:
    """What is sent again until something comes."""

    def __init__(self, data: bytes, now: float, longest: float) -> None:
        self.data, self.longest = data, longest
        self.wait = T1
        self.due, self.until = now + T1, now + GIVE_UP

    def repeat(self, now: float) -> bool:
        """Whether it is to be sent again now."""
        if now < self.due:
            return False
        self.wait = min(2 * self.wait, self.longest)
        self.due = now + self.wait
        return True


class TransactionalUdp(Udp):
    """Like `Udp`; a thread of its own hears and repeats until `close`."""

    def __init__(self, server: str, address: str, port: int = 5060) -> None:
        super().__init__(server, address, port)
        self._inbox: queue.Queue[bytes] = queue.Queue()
        self._lock = threading.Lock()
        self._open = True
        self._asked: dict[Key, _Repeated] = {}
        self._accepted: dict[Key, _Repeated] = {}
        self._answers: dict[Key, bytes] = {}
        self._acks: dict[Key, bytes] = {}
        self._seen: set[Key] = set()
        self._finals: set[tuple[str, ...]] = set()
        self._socket.settimeout(POLL)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, message: bytes) -> None:
        head = _Head(message)
        now = time.monotonic()
        with self._lock:
            if head.code >= 200 and head.method == "INVITE" and head.code < 300:
                self._accepted[head.dialog] = _Repeated(message, now, T2)
            if head.code:
                self._answers[head.transaction] = message
            elif head.method == "ACK":
                self._acks[head.dialog] = message
            else:
                longest = GIVE_UP if head.method == "INVITE" else T2
                self._asked[head.transaction] = _Repeated(message, now, longest)
        super().send(message)

    def receive(self, seconds: float = 10) -> bytes:
        try:
            return self._inbox.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None

    def close(self) -> None:
        self._open = False
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self._open:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                data = b""
            except OSError:  # an ICMP error of something that was sent
                continue
            with self._lock:
                again = self._heard(data) if data.strip() else []
                again += self._due(time.monotonic())
            for each in again:
                try:
                    self._socket.sendto(each, self.server)
                except OSError:
                    continue  # the network is away: next time
        self._socket.close()

    def _heard(self, data: bytes) -> list[bytes]:
        """Give the user what is new; what is to be said to the rest."""
        head = _Head(data)
        if head.code:
            # An INVITE is repeated until anything comes, another request until a final answer.
            if head.code >= 200 or head.method == "INVITE":
                self._asked.pop(head.transaction, None)
            if head.code >= 200:
                final = (*head.transaction, head.tag)
                if final in self._finals and head.method != "INVITE":
                    return []
                if final in self._finals and head.dialog in self._acks:
                    return [self._acks[head.dialog]]
                self._finals.add(final)
        elif head.method == "ACK":
            self._accepted.pop(head.dialog, None)
            if head.transaction in self._seen:
                return []
            self._seen.add(head.transaction)
        elif head.transaction in self._seen:
            answer = self._answers.get(head.transaction)
            return [answer] if answer else []
        else:
            self._seen.add(head.transaction)
        self._inbox.put(data)
        return []

    def _due(self, now: float) -> list[bytes]:
        found: list[bytes] = []
        for kind in (self._asked, self._accepted):
            for key, each in list(kind.items()):
                if now >= each.until:
                    del kind[key]
                elif each.repeat(now):
                    found.append(each.data)
        return found


class _Head:
    """What tells a message's transaction and dialog. ``method`` is CSeq's."""

    def __init__(self, data: bytes) -> None:
        text = data.partition(b"\r\n\r\n")[0].decode(errors="replace")
        start = text.partition("\r\n")[0]
        self.code = int(start.split(" ", 2)[1]) if start.startswith("SIP/2.0 ") else 0
        number, _, self.method = _field(text, "CSeq").partition(" ")
        self.method = self.method.strip()
        via = _field(text, "Via")
        branch = re.search(r";branch=([^;,\s]+)", via)
        sent_by = via.partition(";")[0]
        self.tag = (re.search(r";tag=([^;\s]+)", _field(text, "To")) or ["", ""])[1]
        # Of a request that follows, a party may use a branch again: the number tells them apart.
        self.transaction = (f"{sent_by} {branch[1] if branch else ''}", f"{number} {self.method}")
        self.dialog = (_field(text, "Call-ID"), number)


def _field(head: str, name: str) -> str:
    found = re.search(rf"^{name}[ \t]*:[ \t]*([^\r\n]*)", head, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""
