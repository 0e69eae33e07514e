"""Phones that talk without pause and know what they missed: RTP, plain or SRTP with SDES keys.

    with Talking() as talking:
        call = talking.call(host, host, control, secure=True)
        began = time.monotonic()
        ...                                  # something fails
        heard = call.heard(began)            # gap in seconds, packets lost, for either side

A thread sends for all of them every 20 ms and notes when what arrives, so that what the test waits
for does not stop the clock. Signalling is rtpengine's ng protocol, as a Call Manager speaks it.
"""

from __future__ import annotations

import base64
import itertools
import re
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
import pylibsrtp

from services.core.audio import keys
from services.core.ng import Answer, decode, encode, text
from services.media import rtp, sdp
from tests.cluster.lab import Host

FRAME = 0.02
EVENTS = 101
"""Payload type of telephone events."""
SILENCE = b"\xd5" * 160
SDES = "AES_CM_128_HMAC_SHA1_80"
_CRYPTO = re.compile(rf"a=crypto:(\d+) {SDES} inline:([A-Za-z0-9+/=]+)")


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What one side heard of the other: longest silence in s, packets sent to it and lost."""

    gap: float
    lost: int
    received: int


class Party:
    """One side of a call: a UDP socket on a host, with its sequence numbers.

    ``speech`` is what it says again and again, in PCMA.
    """

    def __init__(
        self,
        host: Host,
        *,
        secure: bool,
        sequence: int,
        speech: bytes = SILENCE,
    ) -> None:
        self._speech = speech
        self.socket = host.socket()
        self.socket.bind((host.address, 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.address, self.port = self.socket.getsockname()[:2]
        self.target: tuple[str, int] | None = None
        self.ssrc = secrets.randbits(32)
        self.first = self.sequence = sequence
        self.sent: dict[int, float] = {}
        self.arrived: list[tuple[float, int]] = []
        self.undecodable = 0
        self._key = secrets.token_bytes(30) if secure else b""
        self._tag = "1"
        self._to_press = ""
        self._events: Iterator[keys.Packet | None] = iter(())
        self._protect: pylibsrtp.Session | None = None
        self._unprotect: pylibsrtp.Session | None = None

    def offer(self) -> str:
        """Its session description."""
        codecs = {8: "PCMA/8000", EVENTS: "telephone-event/8000"}
        said = sdp.describe(address=self.address, port=self.port, codecs=codecs)
        if not self._key:
            return said
        key = base64.b64encode(self._key).decode()
        return said.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:{self._tag} {SDES} inline:{key}\r\n"

    def take(self, description: str) -> None:
        """The other side's session description."""
        media = sdp.audio(description)
        assert media is not None, description
        if self._key and self._protect is None:
            found = _CRYPTO.search(description)
            assert found, description
            self._tag = found[1]
            theirs = base64.b64decode(found[2] + "==")
            policy = pylibsrtp.Policy
            self._protect = pylibsrtp.Session(
                policy(key=self._key, ssrc_type=policy.SSRC_ANY_OUTBOUND)
            )
            self._unprotect = pylibsrtp.Session(
                policy(key=theirs, ssrc_type=policy.SSRC_ANY_INBOUND)
            )
        self.target = (media.address, media.port)

    def press(self, key: str) -> None:
        """Say this key next (RFC 4733), for 80 ms."""
        self._to_press = key

    def send(self, now: float) -> None:
        """The next 20 ms, if it knows where to."""
        if self.target is None:
            return
        at = 160 * self.sequence % (len(self._speech) // 160 * 160)
        frame = self._speech[at : at + 160]
        packet = rtp.Packet(8, self.sequence, 160 * self.sequence, self.ssrc, frame)
        if self._to_press:
            self._events = keys.Sending(self._to_press, 160, 4, 1).packets(packet.timestamp)
            self._to_press = ""
        if (event := next(self._events, None)) is not None:
            packet = rtp.Packet(
                EVENTS, self.sequence, event.timestamp, self.ssrc, event.payload, event.marker
            )
        data = rtp.build(packet)
        if self._protect is not None:
            data = self._protect.protect(data)
        self.sent[self.sequence] = now
        self.sequence += 1
        try:
            self.socket.sendto(data, self.target)
        except OSError:
            return  # an address that is nowhere for a moment: the packet is lost

    def receive(self, now: float) -> None:
        """All that has arrived."""
        while True:
            try:
                data = self.socket.recv(2048)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if self._unprotect is not None and not 192 <= data[1] <= 223:
                try:
                    data = self._unprotect.unprotect(data)
                except pylibsrtp.Error:
                    self.undecodable += 1
                    continue
            packet = rtp.parse(data)
            if packet is not None:
                self.arrived.append((now, packet.sequence))


class Call:
    """Two parties in one call on a media server. Made by `Talking.call`."""

    def __init__(self, call_id: str, control: Control, caller: Party, callee: Party) -> None:
        self.id = call_id
        self.control = control
        self.caller = caller
        self.callee = callee

    def signal(
        self, *, control: Control | None = None, more: Mapping[str, Any] | None = None
    ) -> None:
        """Offer and answer; again, it is a re-offer. ``control``: at another server from now on.

        ``more`` parameters of both commands, by rtpengine's names.
        """
        self.control = control or self.control
        here = self.control
        tags: dict[str, Any] = {"call-id": self.id, "from-tag": "caller", **(more or {})}
        common = {"replace": ["origin"], "ICE": "remove"}
        tagged = {**tags, "to-tag": "callee"} if self.callee.target else tags
        said = here.ask("offer", {**tagged, **common, "sdp": self.caller.offer()})
        self.callee.take(text(said.get("sdp")))
        back = here.ask(
            "answer", {**tags, **common, "to-tag": "callee", "sdp": self.callee.offer()}
        )
        self.caller.take(text(back.get("sdp")))

    def end(self) -> None:
        """Tell the media server that it is over."""
        self.control.ask("delete", {"call-id": self.id, "from-tag": "caller"})

    def heard(self, since: float, until: float | None = None) -> tuple[Heard, Heard]:
        """What caller and callee heard between two monotonic times."""
        return (
            heard(self.caller, self.callee, since, until),
            heard(self.callee, self.caller, since, until),
        )


def heard(ear: Party, mouth: Party, since: float, until: float | None = None) -> Heard:
    """What ``ear`` heard of ``mouth``; silence up to the end counts."""
    end = time.monotonic() if until is None else until
    times = [at for at, _ in ear.arrived if since <= at <= end]
    edges = [since, *times, end]
    there = {sequence for _, sequence in ear.arrived}
    # What was sent last may still be under way.
    # A copy is one step for the thread that sends; a list of its items is not.
    said = mouth.sent.copy().items()
    sent = [seq & 0xFFFF for seq, at in said if since <= at <= end - 0.3]
    return Heard(
        gap=max(later - earlier for earlier, later in itertools.pairwise(edges)),
        lost=sum(seq not in there for seq in sent),
        received=len(times),
    )


class Control:
    """rtpengine's ng protocol from a host, one command at a time."""

    def __init__(self, host: Host, address: str, port: int = 2223) -> None:
        self._host = host
        self._address = (address, port)

    def ask(self, command: str, parameters: Mapping[str, Any]) -> Answer:
        """The answer. Raises AssertionError for an error, OSError where nobody answers."""
        cookie = secrets.token_hex(6).encode()
        with self._host.socket() as own:
            own.settimeout(2.0)
            own.connect(self._address)
            own.send(encode(cookie, command, parameters))
            while True:
                found, answer = decode(own.recv(65535))
                if found == cookie:
                    assert text(answer.get("result")) != "error", (command, answer)
                    return answer


class Talking:
    """All who talk, and the thread that does it. A context manager."""

    def __init__(self) -> None:
        self._parties: list[Party] = []
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.late = 0.0
        """How far behind its beat the thread has been at most, in s: the machine's own share."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(5)
        for party in self._parties:
            party.socket.close()

    def call(
        self,
        caller: Host,
        callee: Host,
        control: Control,
        *,
        secure: bool = False,
        sequence: int = 1000,
        call_id: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> Call:
        """Set up a call between two hosts; they talk from now on. ``more``: `Call.signal`'s."""
        parties = [Party(host, secure=secure, sequence=sequence) for host in (caller, callee)]
        call = Call(call_id or f"call-{secrets.token_hex(6)}", control, *parties)
        call.signal(more=more)
        self.join(*parties)
        return call

    def join(self, *parties: Party) -> None:
        """These talk from now on; each to where it was told by `Party.take`."""
        for party in parties:
            self._selector.register(party.socket, selectors.EVENT_READ, party)
        self._parties += parties

    def leave(self, *parties: Party) -> None:
        """They are silent again."""
        for party in parties:
            self._parties.remove(party)
            self._selector.unregister(party.socket)
            party.socket.close()

    def _run(self) -> None:
        beat = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= beat:
                self.late = max(self.late, now - beat)
                for party in list(self._parties):
                    party.send(now)
                # After a pause of the whole machine there is no burst.
                beat = max(beat + FRAME, now - FRAME)
            for key, _ in self._selector.select(max(0.0, beat - time.monotonic())):
                key.data.receive(time.monotonic())
