"""Services, their checks, and sessions: pure. Requests and the time in, changes and deadlines out.

Sources: Consul's documentation, "Agent", "Health" and "Session" HTTP API; where the embedded
registry is narrower than Consul, it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import msgspec

from pbxctl.engines.local.registry.journal import Journal
from pbxctl.engines.local.registry.keys import Keys
from pbxctl.engines.local.registry.records import (
    SERF_HEALTH,
    AnyRecord,
    Check,
    RefusedError,
    Service,
    Session,
    Status,
)

LEAST_DEREGISTER = 60.0
"""Consul takes no shorter time of being critical before a service is removed."""
SESSION_TTL = (10.0, 86400.0)
LONGEST_LOCK_DELAY = 60.0
TTL_MULTIPLE = 2
"""Consul's leader ends a session only after twice its TTL; the TTL is a lower bound."""
LONGEST_OUTPUT = 4096

NODE_CHECK = Check(
    id=SERF_HEALTH,
    name="Serf Health Status",
    kind="ttl",
    status="passing",
    output="Agent alive and reachable",
    created=1,
    modified=1,
)


class State:
    """The registry. ``now`` is always seconds on one clock that never steps back."""

    def __init__(self, now: float, index: int = 0, records: Iterable[AnyRecord] = ()) -> None:
        self.journal = Journal(index, [NODE_CHECK, *records])
        self.keys = Keys(self.journal)
        self._expiry: dict[str, float] = {}
        self._critical_since: dict[str, float] = {}
        # Silence while the registry was away is not the service's: every term starts anew.
        for check in self.journal.checks.values():
            self._start_terms(check, now)
        for session in self.journal.sessions.values():
            self._start_session(session, now)

    # services and checks

    def register(
        self,
        service: Service,
        checks: Iterable[Check],
        now: float,
        *,
        replace_checks: bool = False,
    ) -> None:
        """Add or replace a service; checks that stay keep status and output."""
        old = self.journal.services.get(service.id)
        checks = tuple(checks)
        if old and old.name != service.name:
            self.deregister(service.id, now)
            old = None
        kept = msgspec.structs.replace(
            service,
            created=old.created if old else 0,
            modified=old.modified if old else 0,
        )
        if kept != old:
            index = self.journal.next()
            self.journal.put(
                msgspec.structs.replace(kept, created=kept.created or index, modified=index)
            )
        if replace_checks:
            wanted = {check.id for check in checks}
            for check in self.checks_of(service.id):
                if check.id not in wanted:
                    self.remove_check(check.id, now)
        for check in checks:
            self.add_check(check, now)

    def deregister(self, service_id: str, now: float) -> bool:
        """Remove a service and its checks; False if it is not there."""
        service = self.journal.services.get(service_id)
        if service is None:
            return False
        for check in self.checks_of(service_id):
            self.remove_check(check.id, now)
        self.journal.next()
        self.journal.drop(service)
        return True

    def add_check(self, check: Check, now: float) -> None:
        """Add or replace a check; it keeps its status and output if it was there.

        Raises RefusedError if its service is unknown.
        """
        if check.service:
            service = self.journal.services.get(check.service)
            if service is None:
                raise RefusedError(404, f'ServiceID "{check.service}" does not exist')
            check = msgspec.structs.replace(
                check, service_name=service.name, service_tags=service.tags
            )
        if check.id == SERF_HEALTH:
            raise RefusedError(400, f"{SERF_HEALTH} is the node's own check")
        if check.deregister_after:
            check = msgspec.structs.replace(
                check, deregister_after=max(check.deregister_after, LEAST_DEREGISTER)
            )
        old = self.journal.checks.get(check.id)
        if old:
            check = msgspec.structs.replace(
                check,
                status=old.status,
                output=old.output,
                created=old.created,
                modified=old.modified,
            )
        if check != old:
            index = self.journal.next()
            self.journal.put(
                msgspec.structs.replace(check, created=check.created or index, modified=index)
            )
        self._start_terms(check, now)

    def remove_check(self, check_id: str, now: float) -> bool:
        """Remove a check and end the sessions bound to it; False if it is not there."""
        check = self.journal.checks.get(check_id)
        if check is None or check_id == SERF_HEALTH:
            return False
        self.journal.next()
        self.journal.drop(check)
        self._expiry.pop(check_id, None)
        self._critical_since.pop(check_id, None)
        self._end_sessions_of(check_id, now)
        return True

    def report(self, check_id: str, status: Status, output: str, now: float) -> None:
        """What a service says of its TTL check. Raises RefusedError if there is none."""
        check = self.journal.checks.get(check_id)
        if check is None:
            raise RefusedError(404, f'Unknown check ID "{check_id}". Ensure that the ID is right.')
        if check.kind != "ttl" or check_id == SERF_HEALTH:
            raise RefusedError(404, f'CheckID "{check_id}" does not have associated TTL')
        self._expiry[check_id] = now + check.ttl
        self._set_status(check, status, output, now)

    def probed(self, check: Check, status: Status, output: str, now: float) -> None:
        """What running an http or tcp check gave; nothing if the check has gone or changed."""
        current = self.journal.checks.get(check.id)
        if current and (current.kind, current.target) == (check.kind, check.target):
            self._set_status(current, status, output, now)

    def checks_of(self, service_id: str) -> list[Check]:
        """A service's own checks, by id."""
        found = [check for check in self.journal.checks.values() if check.service == service_id]
        return sorted(found, key=lambda check: check.id)

    def _set_status(self, check: Check, status: Status, output: str, now: float) -> None:
        changed = msgspec.structs.replace(check, status=status, output=output[:LONGEST_OUTPUT])
        if status == check.status:
            self.journal.retouch(changed)
            return
        self.journal.put(msgspec.structs.replace(changed, modified=self.journal.next()))
        if status == "critical":
            self._critical_since[check.id] = now
            self._end_sessions_of(check.id, now)
        else:
            self._critical_since.pop(check.id, None)

    def _start_terms(self, check: Check, now: float) -> None:
        if check.ttl:
            self._expiry[check.id] = now + check.ttl
        if check.status == "critical":
            self._critical_since.setdefault(check.id, now)
        else:
            self._critical_since.pop(check.id, None)

    # sessions

    def create_session(self, session: Session, now: float) -> str:
        """A new session's id. Raises RefusedError if a term or a check is not as it must be."""
        least, most = SESSION_TTL
        if session.ttl and not least <= session.ttl <= most:
            raise RefusedError(
                500,
                f"Invalid Session TTL '{session.ttl:g}s', must be between [10s=24h0m0s]",
            )
        for check_id in (*session.node_checks, *session.service_checks):
            check = self.journal.checks.get(check_id)
            if check is None:
                raise RefusedError(500, f"Missing check '{check_id}' registration")
            if check.status == "critical":
                raise RefusedError(500, f"Check '{check_id}' is in critical state")
        index = self.journal.next()
        session = msgspec.structs.replace(
            session,
            id=str(uuid4()),
            lock_delay=min(session.lock_delay, LONGEST_LOCK_DELAY),
            created=index,
            modified=index,
        )
        self.journal.put(session)
        self._start_session(session, now)
        return session.id

    def renew_session(self, session_id: str, now: float) -> Session | None:
        """The session with its TTL started anew; None if it has ended."""
        session = self.journal.sessions.get(session_id)
        if session:
            self._start_session(session, now)
        return session

    def destroy_session(self, session_id: str, now: float) -> None:
        """End a session and what it holds; nothing if it has ended."""
        session = self.journal.sessions.get(session_id)
        if session is None:
            return
        self.journal.next()
        self.journal.drop(session)
        self._expiry.pop(session_id, None)
        self.keys.free(session_id, session.behavior, session.lock_delay, now)

    def _start_session(self, session: Session, now: float) -> None:
        if session.ttl:
            self._expiry[session.id] = now + TTL_MULTIPLE * session.ttl

    def _end_sessions_of(self, check_id: str, now: float) -> None:
        for session in list(self.journal.sessions.values()):
            if check_id in session.node_checks or check_id in session.service_checks:
                self.destroy_session(session.id, now)

    # time

    def deadline(self) -> float | None:
        """When `tick` next has something to do; None if never."""
        return min([*self._expiry.values(), *self._removals().values()], default=None)

    def tick(self, now: float) -> None:
        """Do what is due: expired TTLs of checks and sessions, and removals."""
        for name, due in sorted(self._expiry.items(), key=lambda item: item[1]):
            if due > now:
                break
            if name in self.journal.sessions:
                self.destroy_session(name, now)
            elif check := self.journal.checks.get(name):
                del self._expiry[name]
                said = f" (it said last: {check.output})" if check.output else ""
                self._set_status(check, "critical", f"TTL expired{said}", now)
        for check_id, due in self._removals().items():
            check = self.journal.checks.get(check_id)
            if check and due <= now:
                self.deregister(check.service, now)

    def _removals(self) -> dict[str, float]:
        return {
            check_id: since + check.deregister_after
            for check_id, since in self._critical_since.items()
            if (check := self.journal.checks.get(check_id))
            and check.deregister_after
            and check.service
        }
