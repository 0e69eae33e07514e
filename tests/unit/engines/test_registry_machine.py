"""Keys, locks and sessions against a model, in any order, with time."""

from __future__ import annotations

from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pbxctl.engines.local.registry.journal import Topic
from pbxctl.engines.local.registry.records import RefusedError, Session
from pbxctl.engines.local.registry.state import TTL_MULTIPLE, State

KEYS = st.sampled_from(["a", "a/b", "a/c", "b"])
VALUES = st.binary(max_size=3)


class RegistryMachine(RuleBasedStateMachine):
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state = State(self.now)
        self.values: dict[str, bytes] = {}
        self.holders: dict[str, str] = {}
        self.delays: dict[str, float] = {}
        self.alive: dict[str, Session] = {}
        self.expiry: dict[str, float] = {}
        self.seen = 0

    def _end(self, session_id: str) -> None:
        session = self.alive.pop(session_id)
        self.expiry.pop(session_id, None)
        for key in [key for key, holder in self.holders.items() if holder == session_id]:
            del self.holders[key]
            if session.behavior == "delete":
                del self.values[key]
            if session.lock_delay:
                self.delays[key] = self.now + session.lock_delay

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.state.tick(self.now)
        for session in [name for name, due in self.expiry.items() if due <= self.now]:
            self._end(session)

    @rule(
        target=sessions,
        ttl=st.sampled_from([0.0, 10.0, 20.0]),
        delay=st.sampled_from([0.0, 5.0]),
        behavior=st.sampled_from(["release", "delete"]),
    )
    def create(self, ttl: float, delay: float, behavior: Literal["release", "delete"]) -> str:
        session = Session(id="", ttl=ttl, lock_delay=delay, behavior=behavior)
        name = self.state.create_session(session, self.now)
        self.alive[name] = session
        if ttl:
            self.expiry[name] = self.now + TTL_MULTIPLE * ttl
        return name

    @rule(session=sessions)
    def renew(self, session: str) -> None:
        renewed = self.state.renew_session(session, self.now)
        assert (renewed is not None) == (session in self.alive)
        if session in self.expiry:
            self.expiry[session] = self.now + TTL_MULTIPLE * self.alive[session].ttl

    @rule(session=consumes(sessions))
    def destroy(self, session: str) -> None:
        self.state.destroy_session(session, self.now)
        if session in self.alive:
            self._end(session)

    @rule(key=KEYS, value=VALUES)
    def write(self, key: str, value: bytes) -> None:
        assert self.state.keys.put(key, value, self.now)
        self.values[key] = value

    @rule(key=KEYS, value=VALUES, right=st.booleans())
    def check_and_set(self, key: str, value: bytes, right: bool) -> None:
        record = self.state.journal.keys.get(key)
        index = record.modified if record else 0
        done = self.state.keys.put(
            key, value, self.now, operation="cas", cas=index if right else index + 1
        )
        assert done == right
        if done:
            self.values[key] = value

    @rule(key=KEYS, value=VALUES, session=sessions)
    def acquire(self, key: str, value: bytes, session: str) -> None:
        try:
            done = self.state.keys.put(key, value, self.now, operation="acquire", session=session)
        except RefusedError:
            assert session not in self.alive
            return
        free = self.holders.get(key, session) == session
        assert done == (free and self.delays.get(key, 0.0) <= self.now)
        if done:
            self.values[key], self.holders[key] = value, session

    @rule(key=KEYS, value=VALUES, session=sessions)
    def release(self, key: str, value: bytes, session: str) -> None:
        done = self.state.keys.put(key, value, self.now, operation="release", session=session)
        assert done == (self.holders.get(key) == session)
        if done:
            self.values[key] = value
            del self.holders[key]

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.state.keys.delete(key)
        self.values.pop(key, None)
        self.holders.pop(key, None)

    @rule(prefix=st.sampled_from(["a/", "a", "c"]))
    def delete_below(self, prefix: str) -> None:
        self.state.keys.delete_tree(prefix)
        for key in [key for key in self.values if key.startswith(prefix)]:
            del self.values[key]
            self.holders.pop(key, None)

    @invariant()
    def the_registry_holds_what_the_model_holds(self) -> None:
        found = self.state.journal.keys
        assert {key: record.value for key, record in found.items()} == self.values
        held = {key: record.session for key, record in found.items() if record.session}
        assert held == self.holders
        assert set(self.state.journal.sessions) == set(self.alive)

    @invariant()
    def every_change_has_its_own_index_and_is_told(self) -> None:
        changes = self.state.journal.take_changes()
        index = self.state.journal.index_of(Topic("key", "a"))
        assert index >= self.seen
        told = any(Topic("key", "a").meets(change) for change in changes)
        assert told == (index > self.seen) or self.seen == 0
        self.seen = index
        assert self.state.journal.index >= index


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
