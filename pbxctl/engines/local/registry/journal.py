"""Tables with an index for every change: what a blocking query waits for and storage keeps."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pbxctl.engines.local.registry.records import AnyRecord, Check, Key, Kind, Service, Session

TOMBSTONES = 10_000
"""Deleted keys whose index is remembered one by one; past it, all keys count as changed."""


class Topic(msgspec.Struct, frozen=True):
    """What changed, or what someone waits for. A key topic stands for all that start with it."""

    kind: Kind
    name: str = ""

    def meets(self, change: Topic) -> bool:
        """Whether ``change`` wakes who waits for this; an empty name waits for all of a kind."""
        if self.kind != change.kind:
            return False
        if self.kind == "key":
            return change.name.startswith(self.name)
        return self.name in ("", change.name)


class Journal:
    """The tables, the log's index, and what changed since it was last asked.

    ``keys`` and the rest are for reading; `put` and `drop` are the only ways to change them.
    """

    def __init__(self, index: int = 0, records: Iterable[AnyRecord] = ()) -> None:
        self.index = max(index, 1)
        self.keys: dict[str, Key] = {}
        self.sessions: dict[str, Session] = {}
        self.services: dict[str, Service] = {}
        self.checks: dict[str, Check] = {}
        self._tombstones: dict[str, int] = {}
        self._floor = self.index
        self._touched: dict[Topic, int] = {}
        self._dirty: dict[tuple[Kind, str], AnyRecord | None] = {}
        self._changes: set[Topic] = set()
        for record in records:
            self._keep(record)

    def next(self) -> int:
        """The index of the change that is about to be made."""
        self.index += 1
        return self.index

    def put(self, record: AnyRecord) -> None:
        """Keep a record whose ``modified`` is the index of this change."""
        self._keep(record)
        self._note(record, record)

    def retouch(self, record: AnyRecord) -> None:
        """Keep a record that differs only in what no one waits for, like a check's output."""
        self._keep(record)

    def drop(self, record: AnyRecord) -> None:
        """Forget a record, as of the current index."""
        match record:
            case Key():
                del self.keys[record.id]
                self._bury(record.id)
            case Session():
                del self.sessions[record.id]
            case Service():
                del self.services[record.id]
            case Check():
                del self.checks[record.id]
        self._note(record, None)

    def index_of(self, topic: Topic) -> int:
        """The index of the last change that `Topic.meets` ``topic``, or one not below it."""
        if topic.kind != "key":
            return self._touched.get(topic, self._floor)
        found = [key.modified for key in self.keys.values() if key.id.startswith(topic.name)]
        buried = [at for key, at in self._tombstones.items() if key.startswith(topic.name)]
        return max([self._floor, *found, *buried])

    def index_of_key(self, key: str) -> int:
        """The index of one key's last change, its deletion included."""
        found = self.keys.get(key)
        return found.modified if found else self._tombstones.get(key, self._floor)

    def take_changes(self) -> set[Topic]:
        """What changed since this was last called."""
        changes, self._changes = self._changes, set()
        return changes

    def take_dirty(self) -> dict[tuple[Kind, str], AnyRecord | None]:
        """What storage must write since this was last called; None is to be removed."""
        dirty, self._dirty = self._dirty, {}
        return dirty

    def _keep(self, record: AnyRecord) -> None:
        match record:
            case Key():
                self.keys[record.id] = record
            case Session():
                self.sessions[record.id] = record
            case Service():
                self.services[record.id] = record
            case Check():
                self.checks[record.id] = record

    def _bury(self, key: str) -> None:
        self._tombstones[key] = self.index
        if len(self._tombstones) > TOMBSTONES:
            self._tombstones.clear()
            self._floor = self.index

    def _note(self, record: AnyRecord, kept: AnyRecord | None) -> None:
        match record:
            case Key():
                kind, topics = "key", [Topic("key", record.id)]
            case Session():
                kind, topics = "session", [Topic("session", record.id), Topic("session")]
            case Service():
                kind, topics = "service", [Topic("service", record.name), Topic("service")]
            case Check():
                kind, topics = "check", [Topic("check", record.id), Topic("check")]
                # A check of the node counts for every service on it.
                names = (
                    {record.service_name}
                    if record.service
                    else {service.name for service in self.services.values()}
                )
                topics += [Topic("service", name) for name in names]
        self._dirty[kind, record.id] = kept
        for topic in topics:
            if topic.kind != "key":
                self._touched[topic] = self.index
        self._changes.update(topics)
