"""Numbers, dates, money, names and hours."""

from __future__ import annotations

import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.menus import DAYS, Hours, SaidAs
from services.ivr.hours import state
from services.ivr.names import search, spellings
from services.ivr.numbers import say
from services.ivr.phrases import phrase

BERLIN = ZoneInfo("Europe/Berlin")

SAID = [
    ("number", "1234.50", "en", "one thousand, two hundred and thirty-four point five"),
    ("number", "1234.50", "de", "eintausendzweihundertvierunddreißig Komma fünf"),
    ("number", "-3", "en", "minus three"),
    ("number", "0", "de", "null"),
    ("number", "12x", "en", "one two x"),
    ("number", "NaN", "en", "N a N"),
    ("number", "", "en", ""),
    ("digits", "493 12", "de", "vier neun drei, eins zwei"),
    ("digits", "+49-30", "en", "four nine three zero"),
    ("date", "2026-12-24", "en", "Thursday, the twenty-fourth of December, twenty twenty-six"),
    (
        "date",
        "2026-12-24T10:00:00Z",
        "de",
        "Donnerstag, der vierundzwanzigste Dezember zweitausendsechsundzwanzig",
    ),
    ("date", "2026-12-24", "fr", "jeudi 24 décembre 2026"),
    ("date", "2026-02-30", "en", "two zero two six zero two three zero"),
    ("time", "17:30", "de", "siebzehn Uhr dreißig"),
    ("time", "01:00", "de", "ein Uhr"),
    ("time", "17:30", "en", "5:30 PM"),
    ("money", "12.5", "en", "twelve euros and fifty cents"),
    ("money", "1.01", "en", "one euro and one cent"),
    ("money", "-0.50", "de", "minus fünfzig Cent"),
    ("money", "12.50", "de", "zwölf Euro fünfzig"),
    ("money", "1", "de", "ein Euro"),
    ("money", "7", "xx", "7 euros"),
]


@pytest.mark.parametrize(("kind", "value", "language", "words"), SAID)
def test_said(kind: SaidAs, value: str, language: str, words: str) -> None:
    assert say(kind, value, language, "EUR") == words


@settings(deadline=None)
@given(
    st.sampled_from(get_args(SaidAs)),
    st.text(max_size=80) | st.decimals().map(str) | st.floats().map(repr),
    st.sampled_from(["en", "de", "fr", "pl", "ja", "pt-BR", "xx", "zzz-ZZ"]),
    st.sampled_from(["EUR", "JPY", "KWD", "XXY", ""]),
)
def test_anything_can_be_said(kind: SaidAs, value: str, language: str, currency: str) -> None:
    words = say(kind, value, language, currency)
    assert len(words) < 3000


def test_names_on_keys() -> None:
    assert {"2662237", "237", "2372662"} <= spellings("Anna Ber")
    assert spellings("Müller") == {"685537", "6835537"}
    assert spellings("Łukasz Żak") >= {"585279925", "925"}
    assert spellings("李") == set()


PEOPLE = (("2001", "Anna Berg"), ("2002", "Ben Bergmann"), ("2003", "Cleo Ott"))


def test_a_name_is_found_by_its_first_or_last_part() -> None:
    assert search("2374", PEOPLE) == ((("2001", "Anna Berg"), ("2002", "Ben Bergmann")), False)
    assert search("23746", PEOPLE) == ((("2002", "Ben Bergmann"),), False)
    assert search("2536", PEOPLE) == ((("2003", "Cleo Ott"),), False)
    assert search("9", PEOPLE) == ((), False)
    assert search("", PEOPLE) == ((), False)
    many = tuple((str(n), "Anna Berg") for n in range(20))
    found, more = search("2662", many)
    assert (len(found), more) == (8, True)


@given(st.text(max_size=40))
def test_any_name_has_keys(name: str) -> None:
    assert all(way.isdigit() and way.isascii() for way in spellings(name))


WEEK = Hours(
    timezone="Europe/Berlin",
    open={**dict.fromkeys(DAYS[:5], ((480, 1080),)), "fri": ((480, 1080), (1200, 1560))},
    holidays=("2026-12-25",),
)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-12-23 07:59", "closed"),
        ("2026-12-23 08:00", "open"),
        ("2026-12-23 17:59", "open"),
        ("2026-12-23 18:00", "closed"),
        ("2026-12-18 21:00", "open"),
        ("2026-12-19 01:59", "open"),
        ("2026-12-19 02:00", "closed"),
        ("2026-12-25 10:00", "holiday"),
        ("2026-12-25 23:00", "holiday"),
        ("2026-12-26 01:00", "closed"),
        ("2026-12-27 10:00", "closed"),
        ("2026-03-29 03:30", "closed"),
    ],
)
def test_hours(when: str, expected: str) -> None:
    there = datetime.datetime.fromisoformat(when).replace(tzinfo=BERLIN)
    assert state(WEEK, there.timestamp()) == expected


@given(st.floats(0, 4e9), st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "No/Where", "../x"]))
def test_any_time_has_a_state(now: float, zone: str) -> None:
    hours = Hours(timezone=zone, open={"mon": ((0, 1440),)}, holidays=("nonsense",))
    assert state(hours, now) in ("open", "closed")


def test_phrases_are_in_every_language_that_has_any() -> None:
    assert phrase("choice", "de-CH", name="{x}", key="1") == ("de", "Für {x}, drücken Sie die 1.")
    assert phrase("busy", "ja")[0] == "en"
    for language in ("en", "de"):
        for name in ("unknown", "busy", "nobody", "many", "goodbye"):
            assert phrase(name, language)[0] == language
