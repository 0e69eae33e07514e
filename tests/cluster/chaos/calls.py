"""Calls that are up when something fails, by state and transport, and what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import msgspec

from tests.cluster.chaos.cluster import EXTENSIONS, Cluster
from tests.cluster.chaos.figures import Outcome
from tests.cluster.states import HOLD, end, negotiate, taken_up
from tests.integration.calls.party import Call, Party, connect, sdp

T = TypeVar("T")
R = TypeVar("R")


class Kind(msgspec.Struct, frozen=True):
    """A call's state, and the transports of caller and callee."""

    state: str
    caller: str
    callee: str

    def __str__(self) -> str:
        over = dict.fromkeys((self.caller.upper(), self.callee.upper()))
        return f"{self.state}, {' to '.join(over)}"


KINDS = (
    Kind("ringing", "udp", "udp"),
    Kind("answered", "udp", "udp"),
    Kind("held", "udp", "udp"),
    Kind("ringing", "udp", "tcp"),
    Kind("ringing", "udp", "wss"),
    Kind("ringing", "tcp", "udp"),
    Kind("ringing", "tls", "udp"),
    Kind("answered", "tcp", "tcp"),
    Kind("held", "tls", "tls"),
    Kind("answered", "tls", "tls"),
    Kind("answered", "wss", "wss"),
)
"""Of ringing calls none has its caller on WebSocket: decision 0009."""
ANSWERED_WITHIN = 15.0
"""Seconds for which a phone repeats that it has answered; RFC 3261 section 13.3.1.4 has 32."""
LOSSES = (AssertionError, OSError, TimeoutError)


class Up(msgspec.Struct, kw_only=True):
    """A call that is up: the caller's side and the callee's."""

    kind: Kind
    out: Call
    into: Call


class Phones:
    """A pair of phones for each of `KINDS`. Blocking: for a thread."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pairs = [
            (
                cluster.phone(EXTENSIONS[2 * n], over=kind.caller),
                cluster.phone(EXTENSIONS[2 * n + 1], over=kind.callee),
            )
            for n, kind in enumerate(KINDS)
        ]

    def establish(self) -> list[Up]:
        """Every call, and every Call Manager that runs knows of it."""
        for host in self._cluster.managers:
            for extension in EXTENSIONS[: 2 * len(KINDS)]:
                # What the last trial left of connections.
                self._cluster.rpc(host, "ul.rm", "location", f"{extension}@sales")
        found = each(self._call, list(zip(KINDS, self._pairs, strict=True)))
        for up in found:
            known_as = "ringing" if up.kind.state == "ringing" else "answered"
            self._cluster.known(up.out.call_id, known_as)
        return found

    def _call(self, one: tuple[Kind, tuple[Party, Party]]) -> Up:
        kind, pair = one
        for party in pair:
            self._again(party)
        out, into = _ringing(*pair) if kind.state == "ringing" else connect(*pair)
        if kind.state == "held":
            negotiate(into, out, 2, HOLD)
        return Up(kind=kind, out=out, into=into)

    def finish(self, calls: list[Up], *, moved: bool) -> list[tuple[Up, str]]:
        """Have each go on and end by one BYE; with it why it was lost, or "".

        ``moved``: another Call Manager has the VIP, which knows nothing of the phones' connections.
        """
        broken = each(self._reconnected, calls) if moved else [""] * len(calls)

        def finish(one: tuple[Up, str]) -> tuple[Up, str]:
            up, why = one
            try:
                if not why:
                    self._finish(up)
            except LOSSES as error:
                why = _said(error)
            return up, why

        return each(finish, list(zip(calls, broken, strict=True)))

    def _reconnected(self, up: Up) -> str:
        """Phones on connections make new ones, before anything else, as they would at once.

        What came between, or "".
        """
        for call, over in ((up.out, up.kind.caller), (up.into, up.kind.callee)):
            if over != "udp":
                try:
                    self._cluster.reconnect(call.party)
                except LOSSES as error:
                    return _said(error)
        return ""

    def _finish(self, up: Up) -> None:
        out, into = up.out, up.into
        if up.kind.state == "ringing":
            taken_up(self._cluster, out)
            _answer(out, into)
        elif up.kind.state == "held":
            negotiate(into, out, 3)
        end(into, out)

    def _again(self, party: Party) -> None:
        """A connection of this trial's, without what is left of the last one's."""
        party.heard.clear()
        self._cluster.reconnect(party)

    def judged(self, ended: list[tuple[Up, str]]) -> tuple[Outcome, ...]:
        """With the number of their call records; call it when all is well again."""
        return tuple(
            Outcome(
                kind=str(up.kind),
                lost=why,
                records=None if why else self._records(up.out.call_id),
            )
            for up, why in ended
        )

    def _records(self, call_id: str) -> int:
        # Asked once more, an agent that has just come back may have no answer.
        with suppress(AssertionError):
            found = self._cluster.wait(
                lambda: self._cluster.records(call_id), f"a record of {call_id}"
            )
            return len(found)
        return 0


def each(work: Callable[[T], R], over: list[T]) -> list[R]:
    """All at once, as phones do; in the order given. Raises what the first raises."""
    with ThreadPoolExecutor(len(over)) as pool:
        return list(pool.map(work, over))


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _ringing(caller: Party, callee: Party) -> tuple[Call, Call]:
    out = caller.call(callee.extension)
    into = callee.invited()
    into.reply(180)
    out.expect(180)
    return out, into


def _answer(out: Call, into: Call) -> None:
    """200, again and again until the caller has it, and ACK."""
    deadline = time.monotonic() + ANSWERED_WITHIN
    while True:
        into.reply(200, sdp(into.party.address, 42000))
        try:
            out.expect(200, 1.0)
        except AssertionError as error:
            if "waited" not in str(error) or time.monotonic() > deadline:
                raise
        else:
            break
    out.ack()
    into.party.expect("ACK")
