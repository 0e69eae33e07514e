"""Conversations: SIP phones on the lab's host ``phones``, and what they hear all the while.

with Phones(pbx) as phones:
    call = phones.talk("2001", "2002")
    began = time.monotonic()
    ...                                  # something fails
    call.hears(since=began, gap=1.0)
    call.hang_up()
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.cluster import rtp
from tests.cluster.lab import Host
from tests.cluster.whole import WholePbx
from tests.integration.calls.party import Call, Party
from tests.support.sip_client import Connection, Stream
from tests.support.transactions import TransactionalUdp

DOMAIN = "acme.example"
ADMIN = 7080
BEAT = 0.1
"""Seconds that the machine may keep the phones from talking before a gap is its own."""


class Conversation:
    """A call that is up, both of whose phones talk without pause."""

    def __init__(self, phones: Phones, out: Call, into: Call, ears: list[rtp.Party]) -> None:
        self.phones = phones
        self.out, self.into = out, into
        self.near, self.far = ears
        self.id = out.call_id

    def heard(self, since: float) -> tuple[rtp.Heard, rtp.Heard]:
        """What caller and callee heard since a monotonic time."""
        return rtp.heard(self.near, self.far, since), rtp.heard(self.far, self.near, since)

    def listens(self, seconds: float = 15.0) -> None:
        """Wait until each hears the other from now on."""
        begun = time.monotonic()

        def both() -> bool:
            return all(each.received >= 25 for each in self.heard(begun))

        self.phones.wait(both, f"audio both ways in {self.id}", seconds)

    def hears(self, *, since: float, gap: float) -> float:
        """Neither heard nothing for longer than ``gap`` s; the longest silence in s."""
        self.listens()
        found = self.heard(since)
        worst = max(each.gap for each in found)
        allowed = gap + (self.phones.talking.late if self.phones.talking.late > BEAT else 0.0)
        assert worst <= allowed, (found, self.phones.talking.late)
        return worst

    @property
    def media(self) -> str:
        """The address that the caller sends its audio to."""
        assert self.near.target
        return self.near.target[0]

    def hang_up(self, *, by_callee: bool = False) -> None:
        """One BYE, which arrives and is answered."""
        one, other = (self.into, self.out) if by_callee else (self.out, self.into)
        for side in (one, other):
            self.phones.refresh(side.party)
        one.say("BYE")
        bye = other.party.expect("BYE", call_id=self.id)
        other.party.reply(bye, 200)
        one.party.expect_reply("BYE", 200, call_id=self.id)
        self.phones.talking.leave(self.near, self.far)
        self.phones.up.remove(self)

    def one_record(self) -> dict[str, Any]:
        """Wait for its record: one, wherever one asks."""
        return self.phones.one_record(self.id)


class AtMenu:
    """A caller at a menu, who hears an IVR server."""

    def __init__(self, phones: Phones, out: Call, ear: rtp.Party) -> None:
        self.phones = phones
        self.out, self.ear = out, ear
        self.id = out.call_id

    @property
    def server(self) -> str:
        """The address of the IVR server that has the call."""
        assert self.out.dialog
        found = re.search(r"@([\d.]+)", self.out.dialog.target)
        assert found, self.out.dialog.target
        return found[1]

    def leaves(self, address: str) -> None:
        """Wait until a server elsewhere has the call, and says where it is."""
        while self.server == address:
            # Of the server, or of media that are led anew meanwhile.
            invite = self.out.party.expect("INVITE", call_id=self.id)
            assert self.out.dialog
            self.out.dialog.target = invite.contact
            self.out.reply(200, self.ear.offer(), to=invite)
            ack = self.out.party.expect("ACK", call_id=self.id)
            self.ear.take(ack.body or invite.body)

    def hears(self, *, since: float, gap: float) -> float:
        """The caller heard nothing for ``gap`` s at most; the longest silence in s."""
        begun = time.monotonic()
        self.phones.wait(
            lambda: sum(at > begun for at, _ in self.ear.arrived.copy()) >= 25, "the menu", 15
        )
        times = [since, *(at for at, _ in self.ear.arrived.copy() if at >= since)]
        worst = max(later - earlier for earlier, later in itertools.pairwise(times))
        allowed = gap + (self.phones.talking.late if self.phones.talking.late > BEAT else 0.0)
        assert worst <= allowed, (worst, self.phones.talking.late)
        return worst

    def hang_up(self) -> None:
        """One BYE, which is answered."""
        self.out.say("BYE")
        self.out.party.expect_reply("BYE", 200, call_id=self.id)
        self.phones.talking.leave(self.ear)
        self.phones.up.remove(self)

    def one_record(self) -> dict[str, Any]:
        """Wait for its record: one, wherever one asks."""
        return self.phones.one_record(self.id)


class Phones:
    """Registered phones, one an extension, over UDP but for those ``over_tls``.

    A context manager; blocking.
    """

    def __init__(self, pbx: WholePbx, *, over_tls: Collection[str] = ()) -> None:
        self.pbx = pbx
        self._over_tls = over_tls
        self.talking = rtp.Talking()
        self.parties: dict[str, Party] = {}
        self.up: list[Conversation | AtMenu] = []

    def __enter__(self) -> Self:
        self.talking.__enter__()
        for number, (name, password) in enumerate(sorted(self.pbx.passwords.items())):
            if not name.startswith("PASSWORD_"):
                continue
            extension = name.removeprefix("PASSWORD_")
            address = self.pbx.network.address(60 + number)
            ip = ["ip", "-n", self.host.namespace, "addr", "replace", f"{address}/24"]
            subprocess.run([*ip, "dev", self.host.interface], check=True, timeout=10)
            connection = self._connect(extension, address)
            self.parties[extension] = Party(connection, extension, DOMAIN, password)
            self.parties[extension].register()
        return self

    def _connect(self, extension: str, address: str) -> Connection:
        with self.host.inside():
            if extension in self._over_tls:
                return Stream(self.pbx.network.vip, address, tls=True)
            return TransactionalUdp(self.pbx.network.vip, address)

    def refresh(self, party: Party) -> None:
        """A phone on a connection makes a new one and registers on it, as after a reset."""
        if party.extension not in self._over_tls:
            return
        party.connection.close()
        party.connection = self._connect(party.extension, party.connection.address)
        fresh = Party(party.connection, party.extension, DOMAIN, party.password)
        party.contact, party._via = fresh.contact, fresh._via
        party.register()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # What a failed test left up would be counted by the next.
        for left in list(self.up):
            with suppress(AssertionError, OSError):
                left.hang_up()
        self.talking.__exit__(kind, error, at)
        for party in self.parties.values():
            with suppress(OSError):
                party.connection.close()

    @property
    def host(self) -> Host:
        return self.pbx.phones

    def talk(self, caller: str, callee: str) -> Conversation:
        """A new call, answered; returns when each hears the other."""
        ears = [rtp.Party(self.host, secure=False, sequence=1000) for _ in range(2)]
        one, other = self.parties[caller], self.parties[callee]
        for party in (one, other):
            self.refresh(party)
        out = one.call(callee, ears[0].offer())
        try:
            invite = other.expect("INVITE", call_id=out.call_id)
        except AssertionError as error:
            with suppress(AssertionError):
                one.silent("BYE", 0.1)  # what the caller was told is read meanwhile
            told = [each.start for each in one.heard if each.get("Call-ID") == out.call_id]
            raise AssertionError(f"{error}\nthe caller was told: {told}") from None
        into = Call(other, invite)
        ears[1].take(invite.body)
        into.reply(180)
        out.expect(180)
        into.reply(200, ears[1].offer())
        ears[0].take(out.expect(200).body)
        out.ack()
        other.expect("ACK", call_id=out.call_id)
        self.talking.join(*ears)
        made = Conversation(self, out, into, ears)
        self.up.append(made)
        made.listens()
        return made

    def at_menu(self, caller: str, menu: str, *, secure: bool = False) -> AtMenu:
        """A new call to a menu, which is heard; ``secure``: over SRTP."""
        party, ear = self.parties[caller], rtp.Party(self.host, secure=secure, sequence=1000)
        self.refresh(party)
        out = party.call(menu, ear.offer())
        ear.take(out.expect(200).body)
        out.ack()
        self.talking.join(ear)
        made = AtMenu(self, out, ear)
        self.up.append(made)
        made.hears(since=time.monotonic(), gap=5.0)
        return made

    def one_record(self, call_id: str) -> dict[str, Any]:
        """Wait for a call's record: one, wherever one asks."""
        found = self.wait(lambda: self.records(call_id), f"a record of {call_id}", 40)
        assert len(found) == 1, found
        return found[0]

    def records(self, call_id: str) -> list[Any]:
        """Call records, as a Call Manager that runs has them."""
        return self.ask(self.pbx.manager, f"/v1/events?call={call_id}") or []

    def ask(self, host: Host, path: str) -> Any:
        """The JSON of an agent's admin API; None if it does not answer."""
        token = (self.pbx.state / self.pbx.cluster / "secrets" / "admin_token").read_text().strip()
        connection = http.client.HTTPConnection(host.address, ADMIN, timeout=10)
        try:
            connection.sock = host.socket(kind=socket.SOCK_STREAM)
            connection.sock.settimeout(10)
            connection.sock.connect((host.address, ADMIN))
            connection.request("GET", path, None, {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text) if answer.status == 200 else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        """The first true value of a condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds:g} s for {what}\n{self.pbx.network.logs(15)}")
