"""Key-value operations and locks: pure. Source: Consul's documentation, "KV Store", "Sessions"."""

from __future__ import annotations

from typing import Literal

import msgspec

from pbxctl.engines.local.registry.journal import Journal
from pbxctl.engines.local.registry.records import Key, RefusedError

LARGEST_VALUE = 512 * 1024

Operation = Literal["set", "cas", "acquire", "release"]


class Keys:
    """Writes to the key table of a journal. ``now`` is in seconds on a clock that never steps."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._delays: dict[str, float] = {}

    def put(
        self,
        key: str,
        value: bytes,
        now: float,
        *,
        operation: Operation = "set",
        flags: int = 0,
        cas: int = 0,
        session: str = "",
    ) -> bool:
        """Write a key; False if the condition does not hold. Raises RefusedError."""
        if len(value) > LARGEST_VALUE:
            raise RefusedError(
                413, f"Request body({len(value)} bytes) too large, max size: {LARGEST_VALUE} bytes"
            )
        if operation in ("acquire", "release") and session not in self._journal.sessions:
            if operation == "acquire":
                raise RefusedError(500, f'invalid session "{session}"')
            return False
        old = self._journal.keys.get(key)
        if not self._allowed(key, old, now, operation, cas, session):
            return False
        holder, locks = (old.session, old.locks) if old else ("", 0)
        if operation == "acquire":
            locks += holder != session
            holder = session
        elif operation == "release":
            holder = ""
        new = Key(
            id=key,
            value=value,
            flags=flags,
            locks=locks,
            session=holder,
            created=old.created if old else 0,
            modified=old.modified if old else 0,
        )
        if new == old:
            return True
        index = self._journal.next()
        self._journal.put(
            msgspec.structs.replace(new, created=new.created or index, modified=index)
        )
        return True

    def _allowed(
        self, key: str, old: Key | None, now: float, operation: Operation, cas: int, session: str
    ) -> bool:
        holder = old.session if old else ""
        if operation == "cas":
            return cas == (old.modified if old else 0)
        if operation == "acquire":
            if self._delays.get(key, now) > now:
                return False
            return holder in ("", session)
        if operation == "release":
            return old is not None and holder == session
        return True

    def delete(self, key: str, *, cas: int | None = None) -> bool:
        """Remove a key; False if ``cas`` is not its index. A key that is not there is removed."""
        old = self._journal.keys.get(key)
        if old is None:
            return True
        if cas is not None and cas != old.modified:
            return False
        self._journal.next()
        self._journal.drop(old)
        return True

    def delete_tree(self, prefix: str) -> None:
        """Remove every key that starts with ``prefix``."""
        found = [key for key in self._journal.keys.values() if key.id.startswith(prefix)]
        if found:
            self._journal.next()
        for key in found:
            self._journal.drop(key)

    def free(self, session: str, behavior: str, delay: float, now: float) -> None:
        """What the end of a session does to its locks, as of the current index."""
        for key in [key for key in self._journal.keys.values() if key.session == session]:
            if behavior == "delete":
                self._journal.drop(key)
            else:
                freed = msgspec.structs.replace(key, session="", modified=self._journal.index)
                self._journal.put(freed)
            if delay:
                self._delays[key.id] = now + delay
        self._delays = {key: until for key, until in self._delays.items() if until > now}
