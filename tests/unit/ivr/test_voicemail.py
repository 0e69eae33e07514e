"""A call in a voicemail box, of callers and of the owner."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.core.configuration import Destination
from services.ivr import call as it
from services.ivr.call import Book, Boxed, Connecting, Head, Over, State
from services.ivr.menu import Machine
from services.ivr.phrases import phrase
from services.ivr.talk import SILENCE, TRIES

NOON = 1_798_023_600.0
HEADS = (
    Head("m1", "+4930999", "", "2026-12-23T10:05", True),
    Head("m2", "2002", "Ben", "2026-12-22T09:00", True),
    Head("m3", "", "", "2026-12-01T09:00", False),
)


class Caller:
    """Somebody at the box of 2001; the IVR server does what is asked for at once."""

    def __init__(self, user: str = "", **box: Any) -> None:
        self.box = {"has_pin": True} | box
        self.pin = "4711"
        self.heads: tuple[Head, ...] = HEADS
        self.now = NOON
        self.done: list[Any] = []
        self.playing: it.Play | None = None
        self.recording: it.Record | None = None
        state = State(call="c", tenant="acme", language="en", user=user)
        self.machine = Machine(Book(tenant="acme"), state)
        to = Destination(kind="voicemail", target="2001")
        self._do(self.machine.begin(to, self.now))

    @property
    def over(self) -> bool:
        return isinstance(self.machine.state.doing, Over)

    @property
    def at(self) -> str:
        doing = self.machine.state.doing
        return doing.box.at if isinstance(doing, Boxed) else type(doing).__name__

    @property
    def said(self) -> list[str]:
        assert self.playing is not None
        return [line.kept or line.sound.text or line.sound.digest for line in self.playing.lines]

    def hears(self, name: str, **values: str) -> bool:
        return phrase(name, "en", **values)[1] in self.said

    def press(self, keys: str) -> None:
        for key in keys:
            self._tell(it.Digit(key))

    def listen(self) -> None:
        assert self.playing is not None
        self._tell(it.Played(self.playing.serial))

    def wait(self) -> None:
        self.now = self.machine.state.deadline
        self._tell(it.Time())

    def speak(self, digest: str = "sound") -> None:
        assert self.recording is not None
        self._tell(it.Recorded(self.recording.serial, digest, 4.0))

    def hang_up(self) -> None:
        self._tell(it.Ended())

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.done if isinstance(one, kind)]

    def _tell(self, event: it.Event) -> None:
        self._do(self.machine.take(event, self.now))

    def _do(self, commands: list[it.Command]) -> None:
        for command in commands:
            self.done.append(command)
            match command:
                case it.Play():
                    self.playing = command
                case it.Record():
                    self.recording = command
                case it.StopRecording():
                    self.speak()
                case it.OpenBox():
                    self._tell(it.BoxFound(serial=command.serial, **self.box))
                case it.Unlock():
                    good = command.pin == self.pin
                    result = "no pin" if not self.box["has_pin"] else "open" if good else "wrong"
                    heads = self.heads if result != "wrong" else ()
                    self._tell(it.Unlocked(command.serial, result, heads))  # type: ignore[arg-type]
                case it.SetPin():
                    easy = command.pin == "1234"
                    self._tell(it.Changed(command.serial, "refused" if easy else "done"))
                case it.SetGreeting():
                    self._tell(it.Changed(command.serial, "done"))
                case _:
                    pass


def test_a_message_is_left_and_sent() -> None:
    caller = Caller()
    assert caller.hears("box_greeting", extension="two zero zero one")
    caller.listen()
    assert caller.of(it.Record) == [it.Record(caller.machine.state.serial, 180, SILENCE)]
    caller.press("#")
    assert caller.of(it.StopRecording)
    assert caller.hears("review")
    caller.press("1")
    assert caller.of(it.Keep) == [it.Keep("2001", "sound")]
    assert caller.hears("message_kept")
    caller.listen()
    assert caller.over
    assert caller.of(it.HangUp)


def test_most_messages_end_by_hanging_up() -> None:
    caller = Caller()
    caller.press("#")
    caller.hang_up()
    assert caller.of(it.Keep) == [it.Keep("2001", "")]
    assert caller.over
    caller = Caller()
    caller.hang_up()
    assert not caller.of(it.Keep)
    caller = Caller()
    caller.press("##")
    caller.hang_up()
    assert caller.of(it.Keep) == [it.Keep("2001", "sound")]


def test_silence_sends_it_and_it_can_be_said_again() -> None:
    caller = Caller(has_greeting=True)
    assert caller.said == ["2001/"]
    caller.press("##2")
    assert len(caller.of(it.Record)) == 2
    caller.speak("better")
    caller.press("3")
    assert caller.said == ["better"]
    caller.listen()
    assert caller.at == "review"
    caller.listen()
    caller.wait()
    assert caller.of(it.Keep) == [it.Keep("2001", "better")]
    caller = Caller()
    caller.press("##*")
    assert caller.hears("goodbye")
    caller.hang_up()
    assert not caller.of(it.Keep)


def test_who_says_nothing_is_asked_again_and_then_let_go() -> None:
    caller = Caller()
    caller.listen()
    for _ in range(TRIES - 1):
        caller.speak("")
        assert caller.hears("nothing_said")
        caller.listen()
    caller.speak("")
    assert caller.hears("goodbye")
    caller.wait()
    assert caller.over
    assert not caller.of(it.Keep)


def test_a_box_that_is_full_or_not_there() -> None:
    full = Caller(full=True)
    assert full.hears("box_full")
    full.listen()
    assert full.over
    nobody = Caller(there=False)
    assert nobody.hears("busy")
    nobody.listen()
    assert nobody.over
    # Nobody knows, for the database is away: the message is taken all the same.
    away = Caller(known=False)
    away.press("##1")
    assert away.of(it.Keep)


def test_the_owner_listens_at_his_own_phone() -> None:
    owner = Caller("2001")
    assert owner.hears("pin")
    owner.press("4711#")
    assert owner.hears("box_counts", new="two", all="three")
    owner.press("1")
    assert "2001/m1" in owner.said
    assert owner.hears("from", caller="four nine three zero nine nine nine")
    owner.listen()
    assert owner.of(it.Mark) == [it.Mark("2001", "m1", "saved")]
    owner.press("6")
    assert "2001/m2" in owner.said
    assert owner.hears("from", caller="Ben")
    owner.press("7")
    assert owner.of(it.Mark)[-1] == it.Mark("2001", "m2", "deleted")
    assert owner.hears("deleted")
    assert "2001/m3" in owner.said
    assert owner.hears("from_unknown")
    owner.press("4")
    assert "2001/m1" in owner.said
    assert owner.hears("message_old")
    owner.press("66")
    assert owner.hears("no_more")
    assert owner.hears("box_counts", new="zero", all="two")
    owner.press("#")
    owner.listen()
    assert owner.over


def test_the_owner_calls_back() -> None:
    owner = Caller("2001")
    owner.press("4711#18")
    assert owner.at == "Connecting"
    (outwards,) = owner.of(it.Connect)
    assert outwards.to == Destination(kind="number", target="+4930999")
    assert outwards.own, "whoever leaves a number would choose what the tenant pays for"
    inside = Caller("2001")
    inside.press("4711#168")
    assert inside.of(it.Connect)[0].to == Destination(kind="extension", target="2002")
    unknown = Caller("2001")
    unknown.press("4711#1668")
    assert unknown.hears("no_call")
    # From outside, a PIN that somebody has found out must not make calls that cost.
    outside = Caller()
    outside.press("*4711#18")
    assert outside.hears("no_call")
    assert not outside.of(it.Connect)


def test_without_a_pin_only_the_own_phone_opens_it() -> None:
    owner = Caller("2001", has_pin=False)
    assert owner.at == "main"
    outside = Caller(has_pin=False)
    outside.press("*0000#")
    assert outside.hears("pin_wrong")
    assert outside.at == "pin"
    # Somebody who says that he calls from 2001.
    other = Caller("2002", has_pin=False)
    assert other.at == "greeting"


def test_a_pin_has_few_attempts() -> None:
    caller = Caller()
    caller.press("*")
    for _ in range(TRIES):
        caller.press("0000#")
    assert caller.hears("goodbye")
    assert len(caller.of(it.Unlock)) == TRIES
    late = Caller()
    late.press("*4711")
    late.wait()
    assert late.at == "main"


def test_another_pin() -> None:
    owner = Caller("2001", has_pin=False)
    owner.press("312#")
    assert owner.hears("pin_short")
    owner.press("8420#8421#")
    assert owner.hears("pin_other")
    owner.press("8420#8420#")
    assert owner.of(it.SetPin)[0].pin == "8420"
    assert owner.hears("changed")
    owner.press("31234#1234#")
    assert owner.hears("pin_easy")


def test_another_greeting() -> None:
    owner = Caller("2001", has_pin=False)
    owner.press("21")
    assert owner.hears("greeting_record")
    owner.listen()
    owner.speak("hello")
    assert owner.hears("greeting_review")
    owner.press("3")
    assert owner.said == ["hello"]
    owner.press("#2")
    owner.speak("hello again")
    owner.hang_up()
    assert not owner.of(it.SetGreeting)
    assert not owner.of(it.Keep)
    owner = Caller("2001", has_pin=False)
    owner.press("21##1")
    assert owner.of(it.SetGreeting)[0].digest == "sound"
    assert owner.at == "main"
    owner.press("22")
    assert owner.of(it.SetGreeting)[-1].digest == ""


OFFSETS = st.sampled_from([0, 0, 0, -1, 1])
EVENTS: Any = st.one_of(
    st.sampled_from("0123456789*#").map(it.Digit),
    st.sampled_from("0123456789*#").map(it.Digit),
    st.text(max_size=3).map(it.Digit),
    st.just(it.Time()),
    OFFSETS.map(it.Played),
    st.builds(it.Recorded, OFFSETS, st.sampled_from(["", "sound"])),
    st.builds(
        it.BoxFound,
        serial=OFFSETS,
        known=st.booleans(),
        there=st.booleans(),
        full=st.booleans(),
        has_pin=st.booleans(),
        has_greeting=st.booleans(),
    ),
    st.builds(
        it.Unlocked,
        OFFSETS,
        st.sampled_from(["open", "wrong", "locked", "no pin", "away"]),
        st.lists(
            st.builds(
                Head,
                st.sampled_from(["m1", "m2"]),
                st.one_of(st.just("+49301"), st.just("2002"), st.text(max_size=8)),
                st.text(max_size=8),
                st.one_of(st.just("2026-12-22T09:00"), st.text(max_size=8)),
                st.booleans(),
            ),
            max_size=5,
        ).map(tuple),
    ),
    st.builds(it.Changed, OFFSETS, st.sampled_from(["done", "refused", "away"])),
    st.just(it.Ended()),
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=60), st.sampled_from(["", "2001", "2002"]), st.booleans())
def test_any_call_ends_and_is_nobody_else_s(events: list[Any], user: str, moved: bool) -> None:
    book = Book(tenant="acme")
    state = State(call="c", tenant="acme", language="de", user=user)
    machine, now = Machine(book, state), NOON
    commands = machine.begin(Destination(kind="voicemail", target="2001"), now)
    opened = False

    def check() -> None:
        state = machine.state
        assert it.load(it.dump(state)) == state
        assert (state.deadline > now - 1) == (not isinstance(state.doing, Over))
        for command in commands:
            owner = getattr(command, "owner", "2001")
            assert owner in ("2001", None)
            if isinstance(command, it.Mark | it.SetPin | it.SetGreeting):
                assert opened
            if isinstance(command, it.Connect):
                assert opened
                assert command.to.kind == "extension" or user == "2001"
            if isinstance(command, it.Play):
                kept = [line.kept for line in command.lines if line.kept]
                assert all(each == "2001/" or opened for each in kept)

    check()
    for event in events:
        if isinstance(event, it.Time):
            now = max(now, machine.state.deadline)
        if not isinstance(event, it.Digit | it.Time | it.Ended):
            serial = machine.state.serial + event.serial
            event = msgspec.structs.replace(event, serial=serial)
        waiting = machine.state.doing
        unlocking = isinstance(waiting, Boxed) and waiting.box.at == "unlocking"
        if isinstance(event, it.Unlocked) and unlocking and event.serial == machine.state.serial:
            good = event.result == "open" or (event.result == "no pin" and user == "2001")
            opened = opened or good
        over = isinstance(machine.state.doing, Over)
        commands = machine.take(event, now)
        assert not (over and commands)
        check()
        if moved and not isinstance(machine.state.doing, Over | Connecting):
            machine = Machine(book, it.load(it.dump(machine.state)))
            commands = machine.resume(now)
            check()
    for _ in range(200):
        if isinstance(machine.state.doing, Over):
            break
        now = max(now, machine.state.deadline)
        commands = machine.take(it.Time(), now)
        check()
    assert isinstance(machine.state.doing, Over)


def resumed(caller: Caller) -> list[it.Command]:
    """What another process does first that goes on with the call."""
    state = it.load(it.dump(caller.machine.state))
    return Machine(caller.machine.book, state).resume(caller.now)


def test_a_recording_goes_on_in_another_process() -> None:
    caller = Caller()
    caller.listen()
    assert caller.at == "recording"
    (command,) = resumed(caller)
    assert isinstance(command, it.Record)
    assert command.more
    assert not caller.of(it.Record)[0].more


def test_a_pin_is_tried_again_by_another_process() -> None:
    machine = Machine(Book(tenant="acme"), State(call="c", tenant="acme", language="en"))
    machine.begin(Destination(kind="voicemail", target="2001"), NOON)
    machine.take(it.BoxFound(serial=machine.state.serial, has_pin=True), NOON)
    commands = [c for key in "*4711#" for c in machine.take(it.Digit(key), NOON)]
    (command,) = machine.resume(NOON)
    for each in (commands[-1], command):
        assert isinstance(each, it.Unlock)
        assert each.pin == "4711"
