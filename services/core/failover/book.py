"""The names and suspicions of a cluster in the registry: read, followed and written."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import trio

from services.core.configuration import prefix
from services.core.discovery import Entry, Operation, Registry, RegistryError
from services.core.failover.election import Release, Take
from services.core.failover.suspicion import Hold, Suspect, Withdraw
from services.core.failover.wire import Notice

log = logging.getLogger(__name__)

SUSPECTED = b"suspected"
WITHDRAWN = b"withdrawn"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What ``pbx/<cluster>/floating/<name>`` holds, as JSON; see `suspicion.Hold`."""

    member: str
    epoch: str
    released: bool = False
    successor: str = ""


class Book:
    """``holds`` is by name, ``suspicions`` by session, then manager: index of a standing one."""

    def __init__(self, cluster: str, registry: Registry) -> None:
        self._registry = registry
        self._floating = f"{prefix(cluster)}floating/"
        self._suspects = f"{prefix(cluster)}suspects/"
        self._listeners: list[Callable[[], None]] = []
        self._expected: dict[str, int] = {}
        self.holds: dict[str, Hold] = {}
        self.suspicions: dict[str, dict[str, int]] = {}
        self.read = False
        self.written: Callable[[Notice], None] = _nothing
        """Called with every write that the registry has confirmed."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change."""
        self._listeners.append(listener)

    async def follow(self) -> None:
        """Keep it up to date, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_holds)
            nursery.start_soon(self._follow_suspicions)

    async def begin(self) -> tuple[list[Hold], int]:
        """Every name as a quorum of the registry has it, and its index. Raises RegistryError."""
        entries, index = await self._registry.read(self._floating)
        return [hold for entry in entries.values() if (hold := self._hold(entry))], index

    async def take(self, take: Take, name: str, member: str) -> Hold | None:
        """Carry out; the key as it is then, or None if it was refused.

        Raises RegistryUnreachableError where it may have been done, RegistryRefusedError where not.
        """
        key = self._floating + name
        new = Value(member=member, epoch=take.session)
        value = msgspec.json.encode(new)
        over = take.over
        steps: list[Operation] = []
        if over is None:
            steps.append(Operation(verb="check-not-exists", key=key))
        else:
            steps.append(Operation(verb="check-index", key=key, index=over.index))
            known = self.suspicions.get(over.epoch, {})
            steps += [
                Operation(verb="check-index", key=self._suspect(over.epoch, by), index=known[by])
                for by in take.suspecting
            ]
            if over.session:
                unlock = Operation(verb="unlock", key=key, session=over.session, value=value)
                steps.append(unlock)
            steps.append(Operation(verb="delete-tree", key=self._suspect(over.epoch, "")))
        steps.append(Operation(verb="lock", key=key, session=take.session, value=value))
        return await self._write(steps, name, new, take.session)

    async def release(self, release: Release) -> Hold | None:
        """As `take`."""
        hold = release.hold
        key = self._floating + hold.name
        new = Value(
            member=hold.member, epoch=hold.epoch, released=True, successor=release.successor
        )
        value = msgspec.json.encode(new)
        if hold.session:
            last = Operation(verb="unlock", key=key, session=hold.session, value=value)
        else:
            last = Operation(verb="cas", key=key, index=hold.index, value=value)
        check = Operation(verb="check-index", key=key, index=hold.index)
        return await self._write([check, last], hold.name, new, "")

    async def note(self, name: str, member: str, epoch: str) -> None:
        """Say, for those who follow it, who has a name that nobody else can take.

        Raises RegistryError.
        """
        key = self._floating + name
        value = msgspec.json.encode(Value(member=member, epoch=epoch))
        entry = (await self._registry.read(key))[0].get(key)
        if entry is None or entry.value != value:
            await self._registry.put(key, value)

    async def judge(self, command: Suspect | Withdraw, manager: str) -> bool:
        """Write a suspicion, or that there is none; whether the registry confirmed it."""
        hold = command.hold
        key = self._suspect(hold.epoch, manager)
        if key not in self._expected:
            entry = await self._registry.read(key)
            self._expected[key] = entry[0][key].modify_index if key in entry[0] else 0
        value = SUSPECTED if isinstance(command, Suspect) else WITHDRAWN
        expected = self._expected.pop(key)
        name = self._floating + hold.name
        written = await self._registry.transact(
            Operation(verb="check-index", key=name, index=hold.index),
            Operation(verb="cas", key=key, index=expected, value=value),
        )
        if not written:
            return False
        index = self._expected[key] = written[-1].modify_index
        if isinstance(command, Suspect):
            self._suspect_by(hold.epoch, manager, index)
            self.written(_notice(hold, {manager: index}))
        return True

    def heard(self, notice: Notice) -> None:
        """Take what another has written."""
        if self.read:
            self._put(
                Hold(
                    name=notice.name,
                    member=notice.member,
                    epoch=notice.epoch,
                    index=notice.index,
                    session=notice.session,
                    released=notice.released,
                    successor=notice.successor,
                )
            )
            for manager, index in notice.suspicions.items():
                self._suspect_by(notice.epoch, manager, index)
            self._tell()

    async def _write(
        self, steps: list[Operation], name: str, new: Value, session: str
    ) -> Hold | None:
        written = await self._registry.transact(*steps)
        if not written:
            return None
        hold = _hold(name, new, written[-1].modify_index, session)
        self._put(hold)
        self._tell()
        self.written(_notice(hold, {}))
        return hold

    async def _follow_holds(self) -> None:
        async for entries in self._registry.watch_entries(self._floating):
            seen = {hold.name: hold for entry in entries.values() if (hold := self._hold(entry))}
            if self.holds.keys() - seen.keys():
                # Deleted, or told by a server that lags: only its leader knows.
                try:
                    current = {hold.name: hold for hold in (await self.begin())[0]}
                except RegistryError:
                    current = self.holds
                for name in self.holds.keys() - current.keys():
                    log.warning("%s%s was deleted", self._floating, name)
                    del self.holds[name]
            for hold in seen.values():
                self._put(hold)
            self.read = True
            self._tell()

    async def _follow_suspicions(self) -> None:
        async for entries in self._registry.watch_entries(self._suspects):
            found: dict[str, dict[str, int]] = {}
            for key, entry in entries.items():
                epoch, _, manager = key.removeprefix(self._suspects).partition("/")
                if entry.value == SUSPECTED:
                    found.setdefault(epoch, {})[manager] = entry.modify_index
            self.suspicions = found
            self._tell()

    def _suspect_by(self, epoch: str, manager: str, index: int) -> None:
        known = self.suspicions.setdefault(epoch, {})
        known[manager] = max(index, known.get(manager, 0))

    def _put(self, hold: Hold) -> None:
        known = self.holds.get(hold.name)
        if known is None or hold.index > known.index:
            self.holds[hold.name] = hold

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _suspect(self, epoch: str, manager: str) -> str:
        return f"{self._suspects}{epoch}/{manager}"

    def _hold(self, entry: Entry) -> Hold | None:
        try:
            value = msgspec.json.decode(entry.value, type=Value)
        except msgspec.DecodeError as error:
            log.warning("%s cannot be read and is left alone: %s", entry.key, error)
            return None
        name = entry.key.removeprefix(self._floating)
        return _hold(name, value, entry.modify_index, entry.session)


def _hold(name: str, value: Value, index: int, session: str) -> Hold:
    return Hold(
        name=name,
        member=value.member,
        epoch=value.epoch,
        index=index,
        session=session,
        released=value.released,
        successor=value.successor,
    )


def _notice(hold: Hold, suspicions: dict[str, int]) -> Notice:
    return Notice(
        hold.name,
        hold.member,
        hold.epoch,
        hold.index,
        hold.session,
        hold.released,
        hold.successor,
        suspicions,
    )


def _nothing(_: Notice) -> None:
    pass
