"""`pbxctl ivr simulate`: a call walked through in the terminal."""

from __future__ import annotations

import pytest

from pbxctl.simulate import Walk, WalkError
from pbxctl.spec import Tenant
from services.core.configuration import User
from services.core.menus import Collect, DialName, Fetch, Menu, Record, Say, Transfer, Voicemail
from tests.unit.ivr.conversation import NOON, destination, prompt

MENUS = {
    "main": Menu(
        name="main",
        prompt=prompt("Press one."),
        keys={
            "1": (Transfer(to=destination(extension="2001")),),
            "2": (
                Collect(prompt=prompt("Number?"), into="customer", least=2),
                Fetch(url="https://erp.example/", send={"c": "{customer}"}, take={"b": "b"}),
                Say(kind="money", value="{b}", currency="EUR"),
            ),
            "3": (DialName(prompt=prompt("Who?")),),
            "4": (Record(prompt=prompt("Speak.")),),
            "5": (Voicemail(box="2001"),),
        },
        retries=0,
    )
}
TENANT = Tenant(
    name="acme",
    domains=("acme.example",),
    menus=MENUS,
    users=(User(tenant="acme", extension="2001", name="Anna Berg"),),
)


def walked(*script: str) -> Walk:
    walk = Walk(TENANT, "main", NOON, caller="+4930555", called="800")
    for what in script:
        walk.give(what)
    return walk


def said(walk: Walk) -> list[str]:
    return [f"{turn.what} {turn.text}".rstrip() for turn in walk.turns]


def test_a_call_that_is_answered() -> None:
    walk = walked("1", "answer", "hang-up")
    assert said(walk) == [
        "heard Press one.",
        "pressed 1",
        "connect extension 2001",
        "connected",
        "pressed hang-up",
    ]
    assert (walk.waits, walk.why) == ("over", "caller")


def test_silence_takes_time() -> None:
    walk = walked("-")
    assert walk.turns[0].at == 0
    assert said(walk)[1] == "heard Goodbye."
    assert 6 < walk.turns[1].at < 8


def test_a_web_service_is_answered_by_hand() -> None:
    walk = walked("2", "12#", '{"b": 3.5}')
    assert said(walk)[2:4] == ["heard Number?", "pressed 12#"]
    assert 'POST https://erp.example/ {"c":"12"' in said(walk)[4]
    assert said(walk)[6:] == ["heard three euros and fifty cents", "heard Press one."]


def test_names_are_the_spec_s_users() -> None:
    assert "connect extension 2001" in said(walked("3", "2662#"))
    assert "heard No one of that name was found." in said(walked("3", "99#"))


def test_a_message() -> None:
    walk = walked("4", "5")
    assert "recorded 5 s" in said(walk)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["x"], "expected keys"),
        (["1", "hello"], "expected answer"),
        (["2", "12#", "{"], "no JSON"),
        (["4", "long"], "expected a number of seconds"),
        (["1", "answer", "1"], "expected hang-up"),
        (["hang-up", "1"], "is over"),
    ],
)
def test_what_cannot_happen_is_told(script: list[str], expected: str) -> None:
    with pytest.raises(WalkError, match=expected):
        walked(*script)


def test_a_message_is_left_in_a_box() -> None:
    walk = walked("5")
    while walk.waits == "keys":
        walk.give("-")
    assert walk.waits == "record"
    walk.give("12")
    assert "recorded 12 s" in said(walk)
    walk.give("hang-up")
    assert said(walk)[-1] == "kept in the box of 2001"
    assert walk.waits == "over"
