"""The registry's time: TTLs, removals, lock delays, restarts. No clock but the test's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pbxctl.engines.local.registry.journal import TOMBSTONES, Topic
from pbxctl.engines.local.registry.records import Check, RefusedError, Service, Session
from pbxctl.engines.local.registry.state import State
from pbxctl.engines.local.registry.storage import Storage, StorageError

MEDIA = Service(id="m1", name="media")
TTL = Check(id="service:m1", name="c", service="m1", kind="ttl", ttl=10, deregister_after=90)


def _state() -> State:
    state = State(0.0)
    state.register(MEDIA, [TTL], 0.0)
    state.report(TTL.id, "passing", "well", 0.0)
    return state


def test_silence_is_critical_after_the_ttl() -> None:
    state = _state()
    assert state.deadline() == 10.0
    state.tick(9.9)
    assert state.journal.checks[TTL.id].status == "passing"
    state.tick(10.0)
    check = state.journal.checks[TTL.id]
    assert check.status == "critical"
    assert check.output == "TTL expired (it said last: well)"


def test_a_critical_service_is_removed_after_its_time() -> None:
    state = _state()
    state.tick(10.0)
    assert state.deadline() == 100.0
    state.tick(99.9)
    assert "m1" in state.journal.services
    state.tick(100.0)
    assert not state.journal.services
    assert TTL.id not in state.journal.checks
    assert state.deadline() is None


def test_recovering_starts_the_removal_anew() -> None:
    state = _state()
    state.tick(10.0)
    state.report(TTL.id, "warning", "slow", 50.0)
    state.report(TTL.id, "critical", "gone", 55.0)
    state.tick(65.0)
    state.tick(144.9)
    assert "m1" in state.journal.services
    state.tick(145.0)
    assert "m1" not in state.journal.services


def test_a_removal_takes_a_minute_at_least() -> None:
    state = State(0.0)
    state.register(MEDIA, [msgspec.structs.replace(TTL, deregister_after=1)], 0.0)
    state.tick(59.9)
    assert state.journal.services
    state.tick(60.0)
    assert not state.journal.services


def test_a_session_ends_after_twice_its_ttl_unless_renewed() -> None:
    state = State(0.0)
    session = state.create_session(Session(id="", ttl=10, lock_delay=0), 0.0)
    assert state.keys.put("vip", b"1", 0.0, operation="acquire", session=session)
    state.renew_session(session, 15.0)
    state.tick(34.9)
    assert state.journal.keys["vip"].session == session
    state.tick(35.0)
    assert state.journal.keys["vip"].session == ""
    assert state.renew_session(session, 36.0) is None


def test_lock_delay_is_counted_from_the_sessions_end() -> None:
    state = State(0.0)
    first = state.create_session(Session(id="", lock_delay=15), 0.0)
    second = state.create_session(Session(id=""), 0.0)
    state.keys.put("vip", b"1", 0.0, operation="acquire", session=first)
    state.destroy_session(first, 100.0)
    assert not state.keys.put("vip", b"2", 114.9, operation="acquire", session=second)
    assert state.keys.put("vip", b"2", 115.0, operation="acquire", session=second)


def test_a_lock_that_was_given_back_has_no_delay() -> None:
    state = State(0.0)
    first = state.create_session(Session(id="", lock_delay=15), 0.0)
    second = state.create_session(Session(id=""), 0.0)
    state.keys.put("vip", b"1", 0.0, operation="acquire", session=first)
    state.keys.put("vip", b"1", 1.0, operation="release", session=first)
    assert state.keys.put("vip", b"2", 1.0, operation="acquire", session=second)


def test_a_removed_check_ends_its_sessions() -> None:
    state = _state()
    session = state.create_session(Session(id="", service_checks=(TTL.id,)), 0.0)
    state.deregister("m1", 1.0)
    assert session not in state.journal.sessions


def test_only_what_a_watch_waits_for_wakes_it() -> None:
    state = _state()
    state.journal.take_changes()
    before = {topic: state.journal.index_of(topic) for topic in (_HEALTH, _KEYS, _OTHER)}
    # What a service says of itself every second is no change, as long as its status stays.
    state.report(TTL.id, "passing", "still well", 1.0)
    assert state.journal.take_changes() == set()
    assert state.journal.checks[TTL.id].output == "still well"
    state.keys.put("a/b", b"1", 1.0)
    changes = state.journal.take_changes()
    assert any(_KEYS.meets(change) for change in changes)
    assert not any(_HEALTH.meets(change) or _OTHER.meets(change) for change in changes)
    assert state.journal.index_of(_KEYS) > before[_KEYS]
    assert state.journal.index_of(_HEALTH) == before[_HEALTH]
    assert state.journal.index_of(_OTHER) == before[_OTHER]


_HEALTH, _KEYS, _OTHER = Topic("service", "media"), Topic("key", "a/"), Topic("key", "b/")


def test_an_index_never_goes_back_however_much_is_deleted() -> None:
    state = State(0.0)
    last = 0
    for number in range(TOMBSTONES + 10):
        state.keys.put(f"k/{number}", b"", 0.0)
        state.keys.delete(f"k/{number}")
        if number % 1000 == 0 or number > TOMBSTONES - 3:
            index = state.journal.index_of(Topic("key", "k/"))
            assert index > last
            last = index
    assert state.journal.index_of_key("k/0") <= last


def test_a_restart_keeps_everything_and_starts_terms_anew(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "r.sqlite")
    state = _state()
    session = state.create_session(Session(id="", ttl=10), 0.0)
    state.keys.put("a", b"\x00\xff", 0.0, operation="acquire", session=session)
    state.keys.put("gone", b"", 0.0)
    storage.write(state.journal.index, state.journal.take_dirty())
    state.keys.delete("gone")
    storage.write(state.journal.index, state.journal.take_dirty())
    storage.close()

    storage = Storage(tmp_path / "r.sqlite")
    again = State(1000.0, *storage.load())
    storage.close()
    assert again.journal.index == state.journal.index
    assert again.journal.keys == state.journal.keys
    assert again.journal.sessions == state.journal.sessions
    assert again.journal.services == state.journal.services
    assert again.journal.checks == state.journal.checks
    assert again.deadline() == 1010.0
    again.tick(1009.0)
    assert again.journal.checks[TTL.id].status == "passing"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"r\.sqlite cannot be opened: .*move it away"):
        Storage(path)


def test_sessions_need_what_they_are_bound_to() -> None:
    state = State(0.0)
    with pytest.raises(RefusedError, match="Missing check 'service:m1'"):
        state.create_session(Session(id="", service_checks=("service:m1",)), 0.0)
    state.register(MEDIA, [TTL], 0.0)
    with pytest.raises(RefusedError, match="critical"):
        state.create_session(Session(id="", service_checks=("service:m1",)), 0.0)
