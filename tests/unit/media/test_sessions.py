"""Which session is whose: examples, and two servers with a Redis between them under any order."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.media.mirror.document import interface
from services.media.mirror.sessions import (
    OTHERS,
    OWN,
    Action,
    Notify,
    Remove,
    Sessions,
    Store,
)

HOMES = ("one", "two")


def document(home: str, version: int = 1, **call: str) -> bytes:
    return msgspec.json.encode(
        {
            "json": {"redis_hosted_db": "1", "last_signal": str(version), **call},
            "sfd-0": {"logical_intf": interface(home), "localport": "30000"},
        }
    )


def test_what_a_server_sets_up_on_its_address_is_told_and_ends_with_its_word() -> None:
    sessions = Sessions(HOMES)
    sessions.gain("one")
    assert sessions.written("c", document("one")) == [Store("one", "c")]
    assert sessions.keys(OWN) == ["c"]
    assert sessions.keys(OTHERS) == []
    assert sessions.deleted("c", OTHERS) == []
    assert sessions.deleted("c", OWN) == [Remove("one", "c")]
    assert sessions.deleted("c", OWN) == []
    assert sessions.keys(OWN) == []


def test_a_server_without_the_address_has_no_say() -> None:
    sessions = Sessions(HOMES)
    assert sessions.written("c", document("one")) == []
    assert sessions.learned("one", "c", document("one", 2)) == [Notify("set", "c")]
    assert sessions.written("c", document("one", 1)) == []
    assert sessions.deleted("c", OWN) == []
    assert sessions.deleted("c", OTHERS) == []
    assert sessions.read("c", OTHERS) is not None
    assert sessions.written("d", document("elsewhere")) == []
    assert sessions.learned("elsewhere", "d", document("elsewhere")) == []
    assert sessions.written("e", b"not JSON") == []


def test_a_copy_becomes_a_session_of_its_own_with_the_address() -> None:
    sessions = Sessions(HOMES)
    sessions.learned("one", "c", document("one"))
    assert sessions.read("c", OTHERS)
    sessions.gain("one")
    # rtpengine deletes a foreign session from `OWN` before it takes a new version of it.
    assert sessions.deleted("c", OWN) == []
    assert sessions.keys(OWN) == ["c"]
    assert sessions.learned("one", "c", document("one", 9)) == []
    assert sessions.forgotten("one", "c") == []
    assert sessions.deleted("c", OTHERS) == [Remove("one", "c")]


def test_what_is_over_elsewhere_is_taken_away() -> None:
    sessions = Sessions(HOMES)
    for call in ("a", "b", "c"):
        sessions.learned("one", call, document("one"))
    sessions.learned("two", "d", document("two"))
    assert sessions.learned("one", "a", document("one")) == []
    assert sessions.forgotten("two", "a") == []
    assert sessions.forgotten("one", "a") == [Notify("del", "a")]
    assert sessions.only("one", {"b"}) == [Notify("del", "c")]
    assert sorted(sessions.keys(OTHERS)) == ["b", "d"]
    assert sessions.counts() == (0, 2)


def test_comparison_offers_what_is_missing_and_takes_away_what_is_over() -> None:
    sessions = Sessions(HOMES)
    sessions.gain("two")
    sessions.learned("one", "a", document("one"))
    sessions.written("b", document("two"))
    assert sessions.compare({"a", "b"}) == []
    assert sessions.compare({"b", "old"}) == [Notify("del", "old"), Notify("set", "a")]
    assert sessions.refresh() == [Notify("set", "a")]
    assert sessions.dropped("a") == []
    assert sessions.dropped("b") == [Remove("two", "b")]


def test_recordings_are_known_wherever_they_were_started() -> None:
    sessions = Sessions(HOMES)
    sessions.gain("one")
    by_rule = document("one", recording_meta_prefix="x", recording_metadata="tenant%3Dacme")
    sessions.written("a", by_rule)
    sessions.written("b", document("one"))
    assert sessions.recordings() == {"a": "tenant=acme"}
    assert sessions.recorded("b", recorded=True) == [Store("one", "b")]
    assert sessions.recorded("b", recorded=True) == []
    assert sessions.recordings() == {"a": "tenant=acme", "b": ""}
    assert sessions.recorded("a", recorded=False) == [Store("one", "a")]
    assert sessions.recordings() == {"b": ""}
    sessions.lose("one")
    assert sessions.recordings() == {}
    assert sessions.recorded("b", recorded=False) == []


class TwoServers(RuleBasedStateMachine):
    """Addresses move one holder at a time; messages arrive late, in each writer's order."""

    def __init__(self) -> None:
        super().__init__()
        self.servers = [Sessions(HOMES), Sessions(HOMES)]
        self.holder: dict[str, int | None] = dict.fromkeys(HOMES)
        self.redis: dict[str, dict[str, bytes]] = {home: {} for home in HOMES}
        self.wire: list[list[tuple[str, str, bytes]]] = [[], []]
        self.version = 0

    def carry(self, server: int, actions: list[Action]) -> None:
        """What the shell does: Redis has the newest, the other reads the changes."""
        for action in actions:
            if isinstance(action, Notify):
                continue
            session = self.servers[server].get(action.call)
            body = session.document if session and isinstance(action, Store) else b""
            if body:
                self.redis[action.home][action.call] = body
            else:
                self.redis[action.home].pop(action.call, None)
            self.wire[1 - server].append((action.home, action.call, body))

    def deliver(self, server: int) -> None:
        while self.wire[server]:
            home, call, body = self.wire[server].pop(0)
            if body:
                self.servers[server].learned(home, call, body)
            else:
                self.servers[server].forgotten(home, call)

    @rule(home=st.sampled_from(HOMES), server=st.integers(0, 1))
    def take(self, home: str, server: int) -> None:
        if self.holder[home] is None:
            self.deliver(server)
            self.holder[home] = server
            self.servers[server].gain(home)

    @rule(home=st.sampled_from(HOMES))
    def lose(self, home: str) -> None:
        server = self.holder[home]
        if server is not None:
            self.holder[home] = None
            self.servers[server].lose(home)

    @rule(home=st.sampled_from(HOMES), call=st.integers(0, 3), server=st.integers(0, 1))
    def write(self, home: str, call: int, server: int) -> None:
        self.version += 1
        body = document(home, self.version)
        actions = self.servers[server].written(f"{home}-{call}", body)
        assert bool(actions) == (self.holder[home] == server)
        self.carry(server, actions)

    @rule(
        home=st.sampled_from(HOMES),
        call=st.integers(0, 3),
        server=st.integers(0, 1),
        database=st.sampled_from((OWN, OTHERS)),
    )
    def delete(self, home: str, call: int, server: int, database: int) -> None:
        actions = self.servers[server].deleted(f"{home}-{call}", database)
        assert not actions or self.holder[home] == server
        self.carry(server, actions)

    @precondition(lambda self: any(self.wire))
    @rule(server=st.integers(0, 1))
    def read_changes(self, server: int) -> None:
        self.deliver(server)

    @invariant()
    def who_holds_an_address_has_what_redis_has(self) -> None:
        for home, server in self.holder.items():
            if server is not None:
                assert self.servers[server].of(home) == self.redis[home]

    @invariant()
    def every_session_is_in_one_database(self) -> None:
        for server in self.servers:
            own, others = set(server.keys(OWN)), set(server.keys(OTHERS))
            assert not own & others


TestTwoServers = TwoServers.TestCase
