"""What one manager grants and whom it suspects: pure.

A suspicion is a key in the registry, and who takes a name over checks the suspicions in the same
transaction. From before a manager writes one until the registry has confirmed that it is withdrawn,
with the session still the name's, that manager grants the session nothing.

It is withdrawn by writing over it, not by deleting it, and every write names the index that it
replaces: a write that was thought lost can never come after the withdrawal. So a manager that has
just started withdraws whatever it may have written in an earlier life, and grants those sessions
then; and without that the sessions that are younger than its first reading of the registry. Any
other session may have been superseded, which it cannot know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from services.core.failover.wire import Claim


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A name as the registry has it: held by ``member`` under session ``epoch``.

    ``index`` is the key's; ``session`` the lock's, empty when it has ended; ``released``: the
    holder has let go, for ``successor`` (a server's name) or for all.
    """

    name: str
    member: str
    epoch: str
    index: int
    session: str = ""
    released: bool = False
    successor: str = ""


class Suspect(msgspec.Struct, frozen=True):
    """Write the suspicion, only while the key of ``hold`` is at its index."""

    hold: Hold


class Withdraw(msgspec.Struct, frozen=True):
    """Write that there is no suspicion, only while the key of ``hold`` is at its index."""

    hold: Hold


class Suspicions:
    """``me`` is this manager as a member. One write a session at a time is on its way."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._holds: dict[str, Hold] = {}
        self._seen: set[str] = set()
        self._base: int | None = None
        self._revoked: set[str] = set()
        self._written: set[str] = set()
        self._busy: set[str] = set()
        self._unsent: set[str] = set()

    def begin(self, holds: Iterable[Hold], index: int) -> None:
        """A consistent read, at the registry's ``index``, made in this life of the manager."""
        holds = list(holds)
        self._base = index
        self._revoked.update(hold.epoch for hold in holds)
        self.see(holds)

    def see(self, holds: Iterable[Hold]) -> None:
        """A picture of all names, which may be an old one: what is older is not taken."""
        for hold in holds:
            before = self._holds.get(hold.name)
            if before is not None and hold.index < before.index:
                continue
            if before is not None and before.epoch != hold.epoch:
                self._revoked.add(before.epoch)
            self._holds[hold.name] = hold
            if self._base is not None:
                self._seen.add(hold.epoch)

    @property
    def begun(self) -> bool:
        """Whether it may grant and suspect at all."""
        return self._base is not None

    def grants(self, claims: Iterable[Claim]) -> tuple[str, ...]:
        """The claims that may be held on."""
        base = self._base
        if base is None:
            return ()
        return tuple(
            claim.session
            for claim in claims
            if claim.session not in self._revoked
            and (claim.session in self._seen or claim.index > base)
        )

    def watched(self) -> list[tuple[str, str]]:
        """(member, session) whose claims matter: everybody else's."""
        return [
            (hold.member, hold.epoch)
            for hold in self._holds.values()
            if hold.member != self._me and not hold.released
        ]

    def decide(
        self, silent: Callable[[str, str], bool], claimed: Callable[[str, str], bool]
    ) -> list[Suspect | Withdraw]:
        """What to write now. Each is to be followed by `done`, whatever came of it."""
        found: list[Suspect | Withdraw] = []
        if self._base is None:
            return found
        for hold in self._holds.values():
            epoch = hold.epoch
            if hold.member == self._me or hold.released or epoch in self._busy:
                continue
            if silent(hold.member, epoch):
                if epoch not in self._written:
                    if epoch not in self._revoked:
                        self._unsent.add(epoch)
                    self._revoked.add(epoch)
                    self._busy.add(epoch)
                    found.append(Suspect(hold))
            elif epoch in self._revoked and claimed(hold.member, epoch):
                self._busy.add(epoch)
                found.append(Withdraw(hold))
        return found

    def done(self, command: Suspect | Withdraw, succeeded: bool) -> None:
        """``succeeded``: the registry confirmed it; else it may have been carried out or not."""
        epoch = command.hold.epoch
        self._busy.discard(epoch)
        self._unsent.discard(epoch)
        if isinstance(command, Suspect):
            if succeeded:
                self._written.add(epoch)
        elif succeeded:
            self._written.discard(epoch)
            current = self._holds.get(command.hold.name)
            if current is None or current.epoch == epoch:
                self._revoked.discard(epoch)

    def spared(self, command: Suspect | Withdraw) -> None:
        """Nothing was sent, since the registry has no leader; what was granted may be again."""
        epoch = command.hold.epoch
        self._busy.discard(epoch)
        if epoch in self._unsent:
            self._unsent.discard(epoch)
            current = self._holds.get(command.hold.name)
            if current is None or current.epoch == epoch:
                self._revoked.discard(epoch)
