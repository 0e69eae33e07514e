"""Numbers, dates and money in words. Pure; what is no number is said as it is written.

num2words has the grammar of the languages, Babel their calendars and currencies (CLDR).
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal, InvalidOperation

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_decimal, get_currency_name, get_currency_precision
from num2words import num2words  # pyright: ignore[reportMissingTypeStubs]  # has none

from services.core.menus import SaidAs

MOST = Decimal(10) ** 15
"""Beyond it a number is read digit by digit."""
PLACES = 6
LONGEST = 64
_SPACES = re.compile(r"[\s\u00a0\u202f]+")


def say(kind: SaidAs, value: str, language: str, currency: str = "") -> str:
    """The words for a value. Never raises: what cannot be read as its kind is spelled out."""
    value = _SPACES.sub(" ", value).strip()[:LONGEST]
    if not value:
        return ""
    if kind == "digits":
        return digits(value, language)
    if kind == "date":
        return _date(value, language)
    if kind == "time":
        return _time(value, language)
    number = _decimal(value)
    if number is None:
        return digits(value, language)
    return money(number, language, currency) if kind == "money" else words(number, language)


def digits(value: str, language: str) -> str:
    """Each digit by its word, in groups by commas where there were spaces; letters as they are."""
    spoken = [
        words(Decimal(char), language) if char.isascii() and char.isdigit() else char
        for char in value
        if char.isalnum() or char == " "
    ]
    return re.sub(r"\s*,\s*", ", ", " ".join("," if s == " " else s for s in spoken)).strip(", ")


def words(number: Decimal, language: str) -> str:
    """A number in words; in figures, as the language writes them, where it is not known."""
    places = -int(number.normalize().as_tuple().exponent)
    if places > PLACES:
        number = round(number, PLACES)
    try:
        plain = int(number) if number == number.to_integral_value() else number
        return str(num2words(plain, lang=language.replace("-", "_")))  # pyright: ignore[reportUnknownArgumentType]
    except (NotImplementedError, OverflowError, ValueError, TypeError, KeyError, IndexError):
        return str(format_decimal(number, locale=_locale(language)))


def money(amount: Decimal, language: str, currency: str) -> str:
    """``twelve euros fifty cents``: the amount and its hundredths, each with its name."""
    locale = _locale(language)
    precision = get_currency_precision(currency)
    amount = round(amount, precision)
    whole = int(abs(amount))
    rest = int((abs(amount) - whole) * 10**precision)
    sign = _MINUS.get(locale.language, "minus") + " " if amount < 0 else ""
    name = get_currency_name(currency, count=whole, locale=locale)
    one = _ONE.get(locale.language)
    spoken = one if whole == 1 and one else words(Decimal(whole), language)
    said = f"{sign}{spoken} {name}"
    if not rest:
        return said
    minor = _MINOR.get((locale.language, currency), ("", ""))[rest != 1]
    part = one if rest == 1 and one and minor else words(Decimal(rest), language)
    if not whole and minor:
        return f"{sign}{part} {minor}"
    # In German what follows the euros has no name.
    name = f" {minor}" if minor and locale.language != "de" else ""
    return f"{said} {_AND.get(locale.language, '')}{part}{name}"


_ONE = {"de": "ein"}
_CENTS = ("cent", "cents")
_MINOR = {
    **{("en", currency): _CENTS for currency in ("EUR", "USD", "CAD", "AUD", "NZD")},
    ("en", "GBP"): ("penny", "pence"),
    ("de", "EUR"): ("Cent", "Cent"),
    ("de", "CHF"): ("Rappen", "Rappen"),
    **{("fr", currency): ("centime", "centimes") for currency in ("EUR", "CHF")},
    ("es", "EUR"): ("céntimo", "céntimos"),
}
_MINUS = {"fr": "moins", "es": "menos", "it": "meno", "pt": "menos", "pl": "minus"}
_AND = {"en": "and ", "es": "con "}


def _decimal(value: str) -> Decimal | None:
    try:
        number = Decimal(value.replace(" ", ""))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number) >= MOST:
        return None
    # As many places as it may have; 1e-400 is nothing.
    return round(number, PLACES) if number.adjusted() > -2 * PLACES else Decimal(0)


def _date(value: str, language: str) -> str:
    try:
        day = datetime.date.fromisoformat(value[:10])
    except ValueError:
        return digits(value, language)
    locale = _locale(language)
    written = format_date(day, "full", locale=locale)
    ordinal = _ORDINAL.get(locale.language)
    if ordinal is None:
        return written
    name = format_date(day, "EEEE", locale=locale)
    month = format_date(day, "MMMM", locale=locale)
    try:
        number = str(num2words(day.day, to="ordinal", lang=language.replace("-", "_")))  # pyright: ignore[reportUnknownArgumentType]
        year = str(num2words(day.year, to="year", lang=language.replace("-", "_")))  # pyright: ignore[reportUnknownArgumentType]
    except (NotImplementedError, OverflowError, ValueError, TypeError, KeyError):
        return written
    return ordinal.format(weekday=name, day=number, month=month, year=year)


_ORDINAL = {
    "en": "{weekday}, the {day} of {month}, {year}",
    "de": "{weekday}, der {day} {month} {year}",
}


def _time(value: str, language: str) -> str:
    try:
        time = datetime.time.fromisoformat(value[11:] if "T" in value[10:11] else value)
    except ValueError:
        return digits(value, language)
    locale = _locale(language)
    if locale.language == "de":
        minutes = f" {words(Decimal(time.minute), language)}" if time.minute else ""
        hour = "ein" if time.hour == 1 else words(Decimal(time.hour), language)
        return f"{hour} Uhr{minutes}"
    return _SPACES.sub(" ", format_time(time, "short", locale=locale))


def _locale(language: str) -> Locale:
    try:
        return Locale.parse(language.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
