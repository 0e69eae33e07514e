"""Boxes and their messages, on both databases."""

from __future__ import annotations

import threading

import msgspec

from services.core.store import Database, voicemail
from services.core.store.voicemail import ATTEMPTS, CLAIM, FORGET, LOCKED, Message

NOW = 1_700_000_000.0
SOUND = bytes(range(256)) * 400


def message(number: int, **fields: object) -> Message:
    whole = {"tenant": "acme", "extension": "2001", "left_at": NOW + number, "seconds": 5.5}
    return Message(id=f"m{number}", **(whole | fields))  # type: ignore[arg-type] - the tests' fields


def put(database: Database, found: Message, *, mail: bool = False) -> bool:
    with database.write() as connection:
        return voicemail.put(connection, found, SOUND, mail=mail)


def ids(database: Database, extension: str = "2001") -> list[str]:
    with database.read() as connection:
        return [one.id for one in voicemail.page(connection, "acme", extension)]


def test_a_message_is_kept_once(database: Database) -> None:
    one = message(1, caller="+4930123", name="Anna")
    assert put(database, one)
    assert not put(database, msgspec.structs.replace(one, caller="other"))
    assert put(database, message(2, extension="2002"))
    with database.read() as connection:
        assert voicemail.page(connection, "acme", "2001") == [one]
        assert voicemail.sound(connection, "acme", "2001", "m1") == SOUND
        # Nobody else's.
        assert voicemail.sound(connection, "acme", "2002", "m1") is None
        assert voicemail.sound(connection, "other", "2001", "m1") is None
        found = voicemail.box(connection, "acme", "2001", NOW)
    assert (found.new, found.saved, found.has_pin, found.has_greeting) == (1, 0, False, False)


def test_new_ones_come_first_and_deleted_ones_do_not_come_back(database: Database) -> None:
    for number in (3, 1, 2):
        put(database, message(number))
    with database.write() as connection:
        assert voicemail.save(connection, "acme", "2001", "m1", "saved")
        assert not voicemail.save(connection, "acme", "2002", "m2", "saved")
        assert not voicemail.delete(connection, "other", "2001", "m2")
    assert ids(database) == ["m2", "m3", "m1"]
    with database.write() as connection:
        assert voicemail.delete(connection, "acme", "2001", "m2")
        assert not voicemail.delete(connection, "acme", "2001", "m2")
    assert ids(database) == ["m3", "m1"]
    assert not put(database, message(2))
    assert ids(database) == ["m3", "m1"]
    with database.read() as connection:
        assert voicemail.sound(connection, "acme", "2001", "m2") is None


def test_what_is_old_goes(database: Database) -> None:
    put(database, message(1))
    put(database, message(100_000))
    with database.write() as connection:
        assert voicemail.expire(connection, "acme", NOW + 90_000, 86_400) == 1
    assert ids(database) == ["m100000"]
    assert not put(database, message(1))
    with database.write() as connection:
        voicemail.expire(connection, "acme", NOW + 86_400 + FORGET + 10, 86_400)
    assert put(database, message(1))


def test_a_pin_and_its_attempts(database: Database) -> None:
    def attempt(pin: str, after: float = 0.0) -> str:
        with database.write() as connection:
            return voicemail.unlock(connection, "acme", "2001", pin, NOW + after)

    assert attempt("1234") == "no pin"
    with database.write() as connection:
        voicemail.set_pin(connection, "acme", "2001", "1234")
        voicemail.set_greeting(connection, "acme", "2001", b"hello")
    assert attempt("1234") == "open"
    assert attempt("") == "wrong"
    assert attempt("1234") == "open"
    assert [attempt("0000") for _ in range(ATTEMPTS)] == ["wrong"] * (ATTEMPTS - 1) + ["locked"]
    assert attempt("1234") == "locked"
    with database.read() as connection:
        locked = voicemail.box(connection, "acme", "2001", NOW)
        assert locked.locked_until == NOW + LOCKED
        assert locked.has_pin
        assert voicemail.greeting(connection, "acme", "2001") == b"hello"
        assert voicemail.greeting(connection, "acme", "2002") == b""
    assert attempt("0000", LOCKED + 1) == "locked"
    assert attempt("1234", 2 * LOCKED + 2) == "open"
    assert attempt("0000", 2 * LOCKED + 3) == "wrong"
    with database.write() as connection:
        voicemail.set_pin(connection, "acme", "2001", "")
    assert attempt("1234") == "no pin"


def test_attempts_side_by_side_are_all_counted(database: Database) -> None:
    """Whoever guesses at many servers at once has no more attempts for it."""
    with database.write() as connection:
        voicemail.set_pin(connection, "acme", "2001", "1234")
    found: list[str] = []

    def guess() -> None:
        with database.write() as connection:
            found.append(voicemail.unlock(connection, "acme", "2001", "9999", NOW))

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count("wrong") == ATTEMPTS - 1
    assert found.count("locked") == 8 - ATTEMPTS + 1


def test_a_mail_is_claimed_by_one(database: Database) -> None:
    put(database, message(1), mail=True)
    put(database, message(2))

    def claim(after: float) -> str:
        with database.write() as connection:
            found = voicemail.claim_mail(connection, NOW + after)
        return "" if found is None else f"{found[0].id} {len(found[1])} {found[2]}"

    assert claim(0) == f"m1 {len(SOUND)} 0"
    assert claim(1) == ""
    # Who had it has died.
    assert claim(CLAIM) == f"m1 {len(SOUND)} 0"
    with database.write() as connection:
        voicemail.mail_later(connection, "m1", NOW + 200, 1)
    assert claim(199) == ""
    assert claim(200) == f"m1 {len(SOUND)} 1"
    with database.write() as connection:
        voicemail.mailed(connection, "m1")
    assert claim(100_000) == ""
    assert ids(database) == ["m1", "m2"]


def test_what_was_deleted_is_not_mailed(database: Database) -> None:
    put(database, message(1), mail=True)
    with database.write() as connection:
        voicemail.delete(connection, "acme", "2001", "m1")
    with database.write() as connection:
        assert voicemail.claim_mail(connection, NOW) is None


def test_phones_are_told_of_every_change(database: Database) -> None:
    def take() -> list[tuple[str, str]]:
        with database.read() as connection:
            there = voicemail.any_changed(connection)
        with database.write() as connection:
            found = voicemail.take_changed(connection)
        assert there == bool(found)
        return found

    assert take() == []
    put(database, message(1))
    put(database, message(2, extension="2002"))
    assert take() == [("acme", "2001"), ("acme", "2002")]
    assert take() == []
    put(database, message(1))
    assert take() == []
    with database.write() as connection:
        voicemail.save(connection, "acme", "2001", "m1", "saved")
        voicemail.set_pin(connection, "acme", "2001", "4711")
    assert take() == [("acme", "2001")]
    with database.write() as connection:
        voicemail.delete(connection, "acme", "2002", "m2")
    assert take() == [("acme", "2002")]
