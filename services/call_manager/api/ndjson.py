"""Users as lines of JSON: taken apart as they arrive, every problem with its line. Pure."""

from __future__ import annotations

import hashlib
import re

import msgspec

from services.core.configuration import User, encode

LONGEST = 64 * 1024
MOST_PROBLEMS = 20

_SHAPES = {
    "extension": (re.compile(r"[0-9*#]{2,15}"), "2 to 15 digits, * or #"),
    "ha1_md5": (re.compile(r"([0-9a-f]{32})?"), "32 hex digits: an HA1, never a password"),
    "ha1_sha256": (re.compile(r"([0-9a-f]{64})?"), "64 hex digits: an HA1, never a password"),
    "caller_id": (re.compile(r"(\+[1-9][0-9]{4,14})?"), "a number with plus and country code"),
}


class StrictUser(User, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user in which an unknown field, a password above all, is an error."""


_decode = msgspec.json.Decoder(StrictUser).decode


class Lines:
    """Takes a body in chunks. `take` gives the users of whole lines; ``problems`` what was wrong.

    After a problem no more users are given: the whole will be refused.
    """

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._rest = b""
        self._number = 0
        self._users: list[User] = []
        self._seen: set[str] = set()
        self._digest = hashlib.sha256(b"[")
        self.count = 0
        self.problems: list[str] = []
        self._full = False

    @property
    def pending(self) -> int:
        """How many users `take` would give."""
        return len(self._users)

    def feed(self, chunk: bytes) -> None:
        """More of the body."""
        if self._full:
            return
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line)
        if len(self._rest) > LONGEST:
            self._problem(self._number + 1, f"is longer than {LONGEST} bytes")
            self._rest = b""
            self._full = True

    def end(self) -> None:
        """The body is over; its last line needs no end."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def take(self) -> list[User]:
        """Users that were not taken yet."""
        users, self._users = self._users, []
        return [] if self.problems else users

    def digest(self) -> str:
        """SHA-256 of ``configuration.encode`` of the tuple of all users so far, in hex."""
        whole = self._digest.copy()
        whole.update(b"]")
        return whole.hexdigest()

    def _line(self, line: bytes) -> None:
        self._number += 1
        if not line.strip() or self._full:
            return
        try:
            user = _decode(line)
        except msgspec.DecodeError as error:
            self._problem(self._number, str(error))
            return
        wrong = self._wrong(user)
        if wrong:
            self._problem(self._number, wrong)
            return
        self._seen.add(user.extension)
        self._digest.update((b"," if self.count else b"") + encode(user))
        self.count += 1
        self._users.append(user)

    def _wrong(self, user: User) -> str:
        if user.tenant != self._tenant:
            return f"tenant: expected {self._tenant}, the path's"
        for name, (shape, expected) in _SHAPES.items():
            if not shape.fullmatch(getattr(user, name)):
                return f"{name}: expected {expected}"
        if user.max_calls < 0:
            return "max_calls: expected 0 or more"
        if user.extension in self._seen:
            return f"extension: {user.extension} is in an earlier line too"
        return ""

    def _problem(self, number: int, text: str) -> None:
        self.problems.append(f"line {number}: {text}")
        self._full = len(self.problems) >= MOST_PROBLEMS
