"""Which calls' media are led anew by re-INVITE, to which server, and when again. Pure.

Sessions are mirrored between media servers with floating addresses, and who takes an address over
has them: no call needs anything from here. But a session's ICE, DTLS and transcoding are not
mirrored, and media servers whose address does not move mirror nothing. Such a call is silent until
both its parties are told of new media (docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from services.call_manager.calls import Call
from services.call_manager.lost_media import MARGIN, Outages
from services.call_manager.routing.media_profile import TRANSCODED
from services.call_manager.routing.route_signature import Side
from services.call_manager.routing.sequence import TURNS
from services.call_manager.routing.server_choice import choose
from services.call_manager.tables import MediaServer

GONE = 2.5
"""Seconds of a server's silence after which its calls are led elsewhere. A host that stalls for
less costs less than a re-INVITE of all of them."""
UNCARRIED = 6.0
"""The same where another server is about to take its address over, with the sessions."""
ATTEMPTS = 8
LONGEST = 25.0
"""Seconds after which a call that could not be led anew is given up, whatever was answered."""
AGAIN = 2.5
"""Seconds until what was refused for the moment is tried again (RFC 3261 section 14.1)."""
OUT_OF_ORDER = 500
"""Status of a request whose CSeq is too low (RFC 3261 section 12.2.2)."""
NO_DIALOG = 481
LATER = frozenset((408, 480, 491, 500, 503, 504))
"""Statuses that say nothing against the offer itself."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Lead a call's media to ``media``. ``first`` is who is asked for an offer.

    ``asked``: only if its server does not know it, for its phones may have set it up anew.
    """

    call: Call
    media: str
    first: Side
    attempt: int
    turn: int
    asked: bool = False


class _Attempts(msgspec.Struct):
    call: Call
    media: str
    asked: bool
    since: float
    due: float = 0.0
    count: int = 0
    turn: int = 0
    first: Side | None = None
    refused: int = 0
    busy: bool = False
    over: bool = False


def kinds(call: Call) -> str:
    """What media the parties speak, as `Answered.kinds`."""
    return call.answered.kinds if call.answered is not None else ""


def is_mirrored(call: Call, server: MediaServer) -> bool:
    """Whether who takes the server's address over can go on with the call."""
    return server.home != "" and not {"w", TRANSCODED} & set(kinds(call))


def preferred(call: Call) -> Side:
    """Who is asked for an offer: not a browser, if the other one is none.

    An offer that it did not ask for makes a browser start ICE and DTLS again; in an answer new
    credentials are unusual (RFC 8839 section 4.4.1.1.1).
    """
    return "callee" if kinds(call)[:1] == "w" and kinds(call)[1:2] != "w" else "caller"


class Reanchoring:
    """Calls that have to be led anew, from when that is seen until it is done or given up.

    ``outages`` is what is known of the servers' rtpengines. Times are Unix times.
    """

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self._open: dict[str, _Attempts] = {}

    @property
    def under_way(self) -> set[str]:
        """Calls that are being led anew, or about to be: nobody is to end them for their media."""
        return {call_id for call_id, attempts in self._open.items() if not attempts.over}

    def see(
        self,
        calls: Iterable[Call],
        servers: Mapping[str, MediaServer],
        loads: Mapping[str, int],
        lost: Collection[str],
        now: float,
    ) -> None:
        """Take the calls that are up. ``lost`` are servers that no majority of managers reaches."""
        seen: set[str] = set()
        for call in calls:
            server = servers.get(call.media)
            if server is None or call.answered is None or call.turn > TURNS:
                continue
            target = self._target(call, server, servers, loads, lost, now)
            if not target:
                continue
            call_id = call.started.call
            seen.add(call_id)
            asked = target == call.media and not server.home
            attempts = self._open.setdefault(call_id, _Attempts(call, target, asked, now))
            attempts.call, attempts.media, attempts.asked = call, target, asked
        self._open = {
            call_id: attempts
            for call_id, attempts in self._open.items()
            if call_id in seen or attempts.busy
        }

    def due(self, now: float) -> list[Move]:
        """What is to be done, oldest call first; a call again only when `settled` has been told."""
        found: list[Move] = []
        for attempts in self._open.values():
            if attempts.busy or attempts.over or now < attempts.due:
                continue
            # Numbers that another agent may have used up are not used again.
            attempts.turn = attempts.turn or attempts.call.turn + 1
            if attempts.turn > TURNS:
                attempts.over = True
                continue
            attempts.busy = True
            found.append(
                Move(
                    call=attempts.call,
                    media=attempts.media,
                    first=attempts.first or preferred(attempts.call),
                    attempt=attempts.count,
                    turn=attempts.turn,
                    asked=attempts.asked,
                )
            )
        return sorted(found, key=lambda move: move.call.started.time)

    def settled(self, move: Move, code: int, now: float) -> None:
        """How it went: the status of who did not agree; 200 where nothing is left to be done."""
        attempts = self._open.get(move.call.started.call)
        if attempts is None:
            return
        attempts.busy = False
        attempts.count += 1
        attempts.due = now + AGAIN
        if code < 300:
            del self._open[move.call.started.call]
        elif code == NO_DIALOG or attempts.count >= ATTEMPTS or now >= attempts.since + LONGEST:
            attempts.over = True
        elif code == OUT_OF_ORDER:
            attempts.turn = min(attempts.turn + 1, TURNS)
        elif code not in LATER:
            attempts.refused += 1
            attempts.over = attempts.refused > 1
            attempts.first = "callee" if move.first == "caller" else "caller"
            attempts.due = now

    def _target(
        self,
        call: Call,
        server: MediaServer,
        servers: Mapping[str, MediaServer],
        loads: Mapping[str, int],
        lost: Collection[str],
        now: float,
    ) -> str:
        """Where a call's media have to be led; "" if they are well, or nobody can take them."""
        mirrored = is_mirrored(call, server)
        if server.carrier != server.name:
            return "" if mirrored else server.carrier
        silent = self._outages.silent(server.name, now)
        if silent or server.name in lost:
            patience = UNCARRIED if server.home else GONE
            if silent < patience and (server.home or server.name not in lost):
                return ""
            others = [each for each in servers.values() if each.name != server.name]
            found = choose(others, lambda name: loads.get(name, 0), lambda name: name in lost)
            return found.name if found is not None else ""
        began = call.moved.time if call.moved is not None else call.started.time
        if mirrored or began >= self._outages.started(server.name) - MARGIN:
            return ""
        # A session that was restored from its mirror is known, and does not work.
        known = self._outages.has(call.started.call) and not server.home
        return "" if known else server.name
