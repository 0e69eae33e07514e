"""What callers meet at a menu: keys, time-outs, retries, transfers, questions, web services."""

from __future__ import annotations

import pytest

from services.core.menus import (
    Assign,
    Branch,
    Collect,
    DialExtension,
    DialName,
    Enter,
    Fetch,
    HangUp,
    Hours,
    Menu,
    Play,
    Say,
    Speak,
    Transfer,
    When,
)
from services.core.menus import Record as RecordStep
from services.ivr import call as it
from services.ivr.call import Connected, Over
from tests.unit.ivr.conversation import NOON, Conversation, destination, prompt

SALES = (Transfer(to=destination(ring_group="sales")),)
ANNA = (Transfer(to=destination(extension="2001")),)


def menu(**more: object) -> Menu:
    found: dict[str, object] = {"prompt": prompt("Press one or two."), "keys": {"1": SALES}}
    return Menu(name="main", **{**found, **more})  # type: ignore[arg-type]


def why(call: Conversation) -> str:
    assert isinstance(call.state.doing, Over)
    return call.state.doing.why


def test_a_key_connects() -> None:
    call = Conversation(menu())
    assert call.heard == ["Press one or two."]
    call.listen()
    call.press("1")
    found = call.last(it.Connect)
    assert (found.to, found.ring) == (destination(ring_group="sales"), 25)
    call.tell(it.Joined(found.serial))
    assert call.state.doing == Connected(to=found.to)
    assert call.state.deadline == 0
    call.hang_up()
    assert why(call) == "caller"
    assert not call.hung_up


def test_a_key_breaks_into_the_prompt() -> None:
    call = Conversation(menu())
    call.press("1")
    assert isinstance(call.commands[1], it.Stop)
    assert call.last(it.Connect)


def test_silence_is_asked_again_and_then_goes_on() -> None:
    call = Conversation(menu(after=5, retries=1, quiet=prompt("Are you there?"), otherwise=ANNA))
    call.listen()
    assert call.state.deadline == NOON + 5
    call.wait()
    call.listen()
    assert call.heard == ["Press one or two.", "Are you there?", "Press one or two."]
    call.listen()
    call.wait()
    assert call.heard[3:] == ["Are you there?"]
    call.listen()
    assert call.last(it.Connect).to == destination(extension="2001")


def test_wrong_keys_count_as_well() -> None:
    call = Conversation(menu(retries=1, wrong=prompt("No.")))
    call.press("9")
    call.listen()
    call.press("8")
    assert call.heard == ["Press one or two.", "No.", "Press one or two.", "No.", "Goodbye."]
    call.listen()
    assert call.hung_up
    assert why(call) == "end"


def test_two_keys_wait_for_each_other() -> None:
    call = Conversation(menu(keys={"10": SALES, "11": ANNA}, between=2))
    call.press("1")
    assert call.state.deadline == NOON + 2
    call.press("1")
    assert call.last(it.Connect).to == destination(extension="2001")


def test_an_extension_beside_the_keys() -> None:
    call = Conversation(menu(extensions=True, keys={"2": SALES}))
    call.press("2")
    call.wait()
    assert call.last(it.Connect).to == destination(ring_group="sales")
    call = Conversation(menu(extensions=True, keys={"2": SALES}))
    call.press("2001#")
    assert call.last(it.Connect).to == destination(extension="2001")
    call = Conversation(menu(extensions=True, keys={"2": SALES}))
    call.press("2002")
    call.wait()
    assert call.last(it.Connect).to == destination(extension="2002")


def test_who_dials_nobody_may_dial_again() -> None:
    call = Conversation(menu(extensions=True))
    call.press("2009#")
    call.tell(it.Refused(call.last(it.Connect).serial, 404))
    assert call.heard[-1] == "That is not an extension here."
    call.listen()
    assert call.heard[-1] == "Press one or two."


def test_nobody_answers() -> None:
    """The next step of the list; then the menu's way out; then the end."""
    call = Conversation(menu(keys={"1": (*SALES, *ANNA)}, otherwise=SALES))
    call.press("1")
    for to in (destination(extension="2001"), destination(ring_group="sales")):
        call.tell(it.Refused(call.last(it.Connect).serial, 480))
        if isinstance(call.state.doing, it.Playing):
            call.listen()
        assert call.last(it.Connect).to == to
    call.tell(it.Refused(call.last(it.Connect).serial, 480))
    assert call.heard[-2:] == ["Nobody answers at the moment.", "Goodbye."]
    call.listen()
    assert call.hung_up


def test_what_is_done_before_the_prompt() -> None:
    hours = Hours(timezone="Europe/Berlin", open={"wed": ((8 * 60, 18 * 60),)})
    steps = (
        When(hours="office", closed=(HangUp(prompt=prompt("We are closed.")),)),
        Play(prompt=prompt("Welcome.")),
    )
    call = Conversation(menu(before=steps), hours={"office": hours})
    call.listen()
    assert call.heard == ["Welcome.", "Press one or two."]
    night = Conversation(menu(before=steps), hours={"office": hours}, now=NOON + 8 * 3600)
    assert night.heard == ["We are closed."]
    night.listen()
    assert night.hung_up


def test_a_menu_that_asks_nothing() -> None:
    call = Conversation(Menu(name="m", prompt=prompt("Closed."), otherwise=ANNA))
    call.listen()
    assert call.last(it.Connect).to == destination(extension="2001")


BALANCE = (
    Collect(prompt=prompt("Number?"), into="customer", least=3, most=5),
    Fetch(
        url="https://erp.example/",
        send={"customer": "{customer}", "from": "{caller}"},
        take={"balance": "account.0.sum", "status": "status"},
        otherwise=(Play(prompt=prompt("Not now.")), Enter(menu="main")),
    ),
    Branch(by="{status}", cases={"gold": SALES}),
    Say(kind="money", value="{balance}", currency="EUR"),
)


def balance() -> Conversation:
    call = Conversation(menu(keys={"3": BALANCE}))
    call.press("3")
    call.listen()
    call.press("123#")
    return call


def test_a_web_service_is_asked_and_its_answer_said() -> None:
    call = balance()
    asked = call.last(it.Ask)
    assert asked.url == "https://erp.example/"
    assert asked.body == {
        "customer": "123",
        "from": "+4930555",
        "call": "call-1",
        "tenant": "acme",
        "menu": "main",
        "caller": "+4930555",
        "called": "+4930100",
    }
    call.tell(it.Answered(asked.serial, {"account": [{"sum": 12.5}], "status": "silver"}))
    assert call.heard[-1] == "twelve euros and fifty cents"
    call.listen()
    assert call.heard[-1] == "Press one or two."


def test_a_branch_is_taken() -> None:
    call = balance()
    answer = {"account": [{"sum": 1}], "status": "gold"}
    call.tell(it.Answered(call.last(it.Ask).serial, answer))
    assert call.last(it.Connect).to == destination(ring_group="sales")


@pytest.mark.parametrize(
    "answer", [None, [], {}, "x", {"account": [], "status": 1}, {"account": {"0": {"sum": {}}}}]
)
def test_a_web_service_that_fails(answer: object) -> None:
    call = balance()
    call.tell(it.Answered(call.last(it.Ask).serial, answer))
    assert call.heard[-1] == "Not now."
    call.listen()
    assert call.heard[-1] == "Press one or two."


def test_a_web_service_that_is_silent() -> None:
    call = balance()
    call.wait()
    assert call.heard[-1] == "Not now."


def test_digits_too_few_then_enough() -> None:
    call = Conversation(menu(keys={"3": BALANCE}, wrong=prompt("Too short.")))
    call.press("3")
    call.press("1#")
    assert call.heard[-1] == "Too short."
    call.listen()
    call.press("12345")
    assert call.last(it.Ask).body["customer"] == "12345"


def test_keys_pressed_ahead_answer_the_next_questions() -> None:
    steps = (
        Play(prompt=prompt("One moment.")),
        Collect(prompt=prompt("First?"), into="a", most=2),
        Collect(prompt=prompt("Second?"), into="b", most=2),
        Say(kind="digits", value="{a} {b}"),
    )
    call = Conversation(menu(keys={"1": steps}))
    call.press("1")
    call.press("1234")
    call.listen()
    assert call.heard == ["Press one or two.", "One moment.", "one two, three four"]


def test_languages() -> None:
    both = {**prompt("Press one."), "de": prompt("Die Eins.")["en"]}
    keys = {"2": (Speak(language="de"), Say(kind="number", value="21"))}
    call = Conversation(menu(prompt=both, keys=keys))
    call.press("2")
    call.listen()
    assert call.heard == ["Press one.", "einundzwanzig", "Die Eins."]


def test_names() -> None:
    step = (DialName(prompt=prompt("Spell the name."), retries=1),)
    call = Conversation(menu(keys={"1": step}))
    call.press("1")
    call.press("237#")
    asked = call.last(it.Find)
    assert asked.keys == "237"
    call.tell(it.Names(asked.serial, (("2001", "Anna Berg"), ("2002", "Beate Bergmann"))))
    assert call.heard[-2:] == ["For Anna Berg, press 1.", "For Beate Bergmann, press 2."]
    call.press("2")
    assert call.last(it.Connect).to == destination(extension="2002")


def test_names_that_nobody_has() -> None:
    step = (DialName(prompt=prompt("Spell the name."), retries=1),)
    call = Conversation(menu(keys={"1": step}))
    call.press("1")
    for _ in range(2):
        call.press("999#")
        call.tell(it.Names(call.last(it.Find).serial))
        assert "No one of that name was found." in call.heard[-2:]
        call.listen()
    assert call.hung_up


def test_an_extension_that_is_asked_for() -> None:
    call = Conversation(menu(keys={"1": (DialExtension(prompt=prompt("Which?")),)}))
    call.press("1")
    call.press("2#")
    assert call.heard[-1] == "Which?"
    call.press("20#")
    assert call.last(it.Connect).to == destination(extension="20")


def test_a_message_is_recorded() -> None:
    steps = (RecordStep(prompt=prompt("Speak."), most=60), Assign(variables={"x": "{recording}"}))
    call = Conversation(menu(keys={"1": steps}))
    call.press("1")
    call.listen()
    asked = call.last(it.Record)
    assert (asked.most, asked.silence) == (60, 4)
    call.press("1#")
    assert call.last(it.StopRecording).serial == asked.serial
    call.tell(it.Recorded(asked.serial, "abc", 2.5))
    assert call.state.variables["x"] == "abc"
    assert call.heard[-1] == "Press one or two."


@pytest.mark.parametrize("box", ["", "2001"])
def test_what_was_said_is_kept_when_the_caller_hangs_up(box: str) -> None:
    call = Conversation(menu(keys={"1": (RecordStep(prompt=prompt("Speak."), voicemail=box),)}))
    call.press("1")
    call.listen()
    assert call.last(it.Record).owner == box
    call.hang_up()
    assert call.commands[-1] == it.Keep(box, "")


def test_nothing_is_kept_of_who_hangs_up_before_the_tone() -> None:
    call = Conversation(menu(keys={"1": (RecordStep(prompt=prompt("Speak.")),)}))
    call.press("1")
    call.hang_up()
    assert not [c for c in call.commands if isinstance(c, it.Keep)]


def test_late_answers_change_nothing() -> None:
    call = Conversation(menu())
    serial = call.state.serial
    call.press("1")
    before = it.dump(call.state)
    for event in (
        it.Played(serial),
        it.Refused(serial, 480),
        it.Joined(serial),
        it.Answered(serial, {}),
        it.Names(serial),
        it.Recorded(serial, "x"),
        it.Time(),
    ):
        call.tell(event)
    assert it.dump(call.state) == before


def test_it_goes_on_elsewhere_at_the_place_in_the_prompt() -> None:
    call = Conversation(menu())
    call.state.position = 1.5
    call.move()
    assert call.last(it.Play) == it.Play(1, call.last(it.Play).lines, 1.5)
    call.listen()
    call.move()
    call.press("1")
    call.move()
    assert [type(c).__name__ for c in call.commands].count("Connect") == 2
    call.tell(it.Joined(call.last(it.Connect).serial))
    call.move()
    assert isinstance(call.state.doing, Connected)


def test_menus_that_go_round_end() -> None:
    one = Menu(name="one", before=(Enter(menu="two"),))
    call = Conversation(one, Menu(name="two", before=(Enter(menu="one"),)))
    assert why(call) == "circle"
    assert call.hung_up


def test_a_menu_that_has_gone() -> None:
    call = Conversation(menu(keys={"1": (Enter(menu="gone"),)}))
    call.press("1")
    assert why(call) == "unknown"
