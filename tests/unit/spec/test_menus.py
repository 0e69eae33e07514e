"""Menus and hours of a tenant as they are read: what the documents then say."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import pytest

from pbxctl.spec.draft import Inputs, Report
from pbxctl.spec.model import Tenant
from pbxctl.spec.tenants import read_tenant
from pbxctl.spec.tree import parse
from services.core import configuration
from services.core.configuration import Destination
from services.core.menus import (
    Assign,
    Branch,
    Collect,
    Enter,
    Fetch,
    HangUp,
    Hours,
    Menu,
    Play,
    Say,
    Sound,
    Speak,
    Steps,
    Transfer,
    When,
    below,
    decode_menu,
)

SILENCE = b"RIFF\x24\0\0\0WAVEfmt "


def read(text: str, directory: Path) -> tuple[Tenant, list[str]]:
    """A tenant of YAML, and what was said of it."""
    root, problems = parse("t.yaml", f"name: acme\ndomains: [acme.example]\n{text}".encode())
    assert problems == []
    report = Report("t.yaml", root)
    inputs = Inputs(directory=directory, environment={})
    tenant, _, _ = read_tenant(root.values(), (), inputs, report)
    return tenant, [str(problem) for problem in report.problems]


MENU = """\
language: de
hours:
  office: {timezone: Europe/Berlin, open: {mon-fri: "08:00-18:00"}}
menus:
  main:
    extension: "800"
    when: {closed: {hang_up: "Geschlossen."}}
    before: {set: {tries: "0"}}
    prompt: {de: "Die Eins.", en: {file: one.wav}}
    ring: 10s
    keys:
      "1": {extension: "2001"}
      "2":
        - {collect: {prompt: "Kundennummer?", into: customer, least: 4, most: 8, retries: 1}}
        - request:
            url: https://erp.example/balance
            send: {customer: "{customer}"}
            take: {balance: account.balance}
            deadline: 5s
            otherwise: {ring_group: desk}
        - {say: {money: "{balance}", currency: EUR}}
      "*": [{language: en}, {menu: main}]
      "3": {branch: {by: "{tries}", is: {"0": {play: "Null."}}, otherwise: {menu: main}}}
    timeout: {after: 5s, between: 2s, retries: 1, prompt: "Bitte?", then: {number: "+4930100"}}
"""


def test_a_menu_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SILENCE)
    tenant, said = read(MENU, tmp_path)
    digest = hashlib.sha256(SILENCE).hexdigest()

    def de(text: str) -> dict[str, Sound]:
        return {"de": Sound(text=text)}

    assert tenant.sounds == {digest: SILENCE}
    assert tenant.menus["main"] == Menu(
        name="main",
        prompt={**de("Die Eins."), "en": Sound(digest=digest)},
        before=(
            When(hours="office", closed=(HangUp(prompt=de("Geschlossen.")),)),
            Assign(variables={"tries": "0"}),
        ),
        keys={
            "1": (Transfer(to=Destination(kind="extension", target="2001")),),
            "2": (
                Collect(prompt=de("Kundennummer?"), into="customer", least=4, most=8, retries=1),
                Fetch(
                    url="https://erp.example/balance",
                    send={"customer": "{customer}"},
                    take={"balance": "account.balance"},
                    deadline=5,
                    otherwise=(Transfer(to=Destination(kind="ring_group", target="desk")),),
                ),
                Say(kind="money", value="{balance}", currency="EUR"),
            ),
            "*": (Speak(language="en"), Enter(menu="main")),
            "3": (
                Branch(
                    by="{tries}",
                    cases={"0": (Play(prompt=de("Null.")),)},
                    otherwise=(Enter(menu="main"),),
                ),
            ),
        },
        after=5,
        between=2,
        retries=1,
        quiet=de("Bitte?"),
        otherwise=(Transfer(to=Destination(kind="number", target="+4930100")),),
        direct="800",
        ring=10,
    )
    # English is spoken in this menu, so every prompt needs it.
    assert [line for line in said if 'nor file for "en"' in line] == said
    assert len(said) == 4


ASKING = """\
menus:
  main:
    before:
      - request: {{url: "https://erp.example/a", {one}}}
      - request: {{url: "https://erp.example/a", {other}}}
      - hang_up: Bye.
"""


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("token: {file: s}", "token: {file: s}", ""),
        ("username: a, password: {file: s}", "token: {file: s}", ""),
        ("username: a, password: {file: s}", "username: b, password: {file: other}", ""),
        ("token: {file: s}", "token: {file: other}", "another request to the same url"),
        ("username: a", "token: {file: s}", "give a username and a password, or a token alone"),
        ("password: {file: s}", "token: {file: s}", "give a username and a password, or a token"),
        ("token: {file: s}, username: a", "token: {file: s}", "or a token alone"),
        ("token: {file: bad}", "token: {file: bad}", "a token of ASCII characters, no spaces"),
        ("token: {file: none}", "token: {file: s}", "cannot read none"),
    ],
)
def test_web_services_know_who_asks(one: str, other: str, said: str, tmp_path: Path) -> None:
    for name, text in (("s", "geheim"), ("other", "anders"), ("bad", "a b")):
        (tmp_path / name).write_text(text)
    tenant, problems = read(ASKING.format(one=one, other=other), tmp_path)
    assert any(said in problem for problem in problems) if said else problems == []
    if not said:
        steps = tenant.menus["main"].before[:2]
        named = [step.authorization for step in steps if isinstance(step, Fetch)]
        assert set(named) == set(tenant.authorizations)
        assert "geheim" not in repr(tenant)
        assert b"geheim" not in configuration.encode(tenant.menus["main"])


def test_the_document_is_the_menu(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SILENCE)
    menu = read(MENU, tmp_path)[0].menus["main"]
    assert decode_menu(configuration.encode(menu)) == menu


def test_every_list_inside_a_step_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.wav").write_bytes(SILENCE)
    menu = read(MENU, tmp_path)[0].menus["main"]
    found: list[str] = []

    def walk(steps: Steps) -> None:
        for step in steps:
            for way, inside in below(step).items():
                found.extend([way] * bool(inside))
                walk(inside)

    for steps in (menu.before, *menu.keys.values(), menu.otherwise):
        walk(steps)
    assert sorted(found) == ["closed", "is.0", "otherwise", "otherwise"]


def test_hours_go_round_the_week_and_past_midnight(tmp_path: Path) -> None:
    text = """\
hours:
  bar:
    timezone: Europe/Berlin
    open: {fri-sun: "20:00-02:00", mon: ["09:00-12:00", "13:00-24:00"], sat-mon: "08:00-09:00"}
    closed: ["2026-12-25", "2026-12-24"]
"""
    tenant, said = read(text, tmp_path)
    assert said == []
    late, early = (1200, 1560), (480, 540)
    assert tenant.hours["bar"] == Hours(
        timezone="Europe/Berlin",
        open={
            "mon": (early, (540, 720), (780, 1440)),
            "fri": (late,),
            "sat": (early, late),
            "sun": (early, late),
        },
        holidays=("2026-12-24", "2026-12-25"),
    )


CALENDAR = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:test
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20261225
DTEND;VALUE=DATE:20261227
SUMMARY:Christmas
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;VALUE=DATE:20250501
RRULE:FREQ=YEARLY;UNTIL=20280101T000000Z
SUMMARY:Labour Day
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART;TZID=Europe/Berlin:20261231T120000
DURATION:PT4H
END:VEVENT
END:VCALENDAR
"""


def test_holidays_of_a_calendar(tmp_path: Path) -> None:
    (tmp_path / "h.ics").write_text(CALENDAR.replace("\n", "\r\n"))
    text = 'hours: {o: {timezone: UTC, open: {mon: "08:00-09:00"}, closed: {file: h.ics}}}\n'
    tenant, said = read(text, tmp_path)
    assert said == []
    assert tenant.hours["o"].holidays == (
        "2025-05-01",
        "2026-05-01",
        "2026-12-25",
        "2026-12-26",
        "2026-12-31",
        "2027-05-01",
    )


@pytest.mark.parametrize("rule", ["FREQ=YEARLY", "FREQ=DAILY", "FREQ=SECONDLY", "FREQ=NEVER"])
def test_a_calendar_without_end_ends(rule: str, tmp_path: Path) -> None:
    end = "FREQ=YEARLY;UNTIL=20280101T000000Z"
    (tmp_path / "h.ics").write_text(CALENDAR.replace(end, rule).replace("\n", "\r\n"))
    text = 'hours: {o: {timezone: UTC, open: {mon: "08:00-09:00"}, closed: {file: h.ics}}}\n'
    before = datetime.datetime.now(datetime.UTC)
    tenant, said = read(text, tmp_path)
    assert (datetime.datetime.now(datetime.UTC) - before).total_seconds() < 20
    days = tenant.hours["o"].holidays
    assert bool(said) == (rule == "FREQ=NEVER")
    assert len(days) < 20_000 or said
