"""Names on the keys of a telephone (ITU-T E.161: 2 is a, b or c). Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_LETTERS = {"2": "abc", "3": "def", "4": "ghi", "5": "jkl", "6": "mno", "7": "pqrs", "8": "tuv"}
_LETTERS["9"] = "wxyz"
_KEY = {letter: key for key, letters in _LETTERS.items() for letter in letters}
_WRITTEN = str.maketrans({"ß": "ss", "ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
MOST = 8
"""So many can be chosen from by one key."""


def spellings(name: str) -> set[str]:
    """The keys of each word of a name and of the words that follow it; umlauts either way."""
    found: set[str] = set()
    lower = unicodedata.normalize("NFC", name).lower()
    for text in (lower, lower.translate(_UMLAUTS)):
        plain = unicodedata.normalize("NFKD", text.translate(_WRITTEN))
        words = ["".join(_keys(word)) for word in plain.replace("-", " ").split()]
        words = [word for word in words if word]
        for index in range(len(words)):
            found.add("".join(words[index:]))
        if len(words) > 1:
            found.add("".join([words[-1], *words[:-1]]))
    return found


def _keys(word: str) -> Iterable[str]:
    for letter in word:
        if letter in _KEY:
            yield _KEY[letter]
        elif letter.isascii() and letter.isdigit():
            yield letter


def search(
    keys: str, people: Iterable[tuple[str, str]]
) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Whose name begins with these keys, first or last name: at most `MOST`, and if there are more.

    ``people`` are pairs of extension and name. Who fits to the letter comes before who goes on.
    """
    if not keys:
        return (), False
    whole: list[tuple[str, str]] = []
    begun: list[tuple[str, str]] = []
    for person in people:
        ways = spellings(person[1])
        if keys in ways:
            whole.append(person)
        elif any(way.startswith(keys) for way in ways):
            begun.append(person)
    found = sorted(whole, key=_by_name) + sorted(begun, key=_by_name)
    return tuple(found[:MOST]), len(found) > MOST


def _by_name(person: tuple[str, str]) -> tuple[str, str]:
    return person[1].casefold(), person[0]
