"""Users from a CSV file. Passwords become HA1s row by row and are not kept."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

import msgspec

from pbxctl.spec.problems import Problem, SpecError, printable, suggestion
from pbxctl.spec.schema import compiled, schema
from pbxctl.spec.units import seconds
from services.core.configuration import Destination, Forward, User, ha1

COLUMNS = [
    "extension",
    "name",
    "email",
    "permission",
    "password",
    "ha1_md5",
    "ha1_sha256",
    "max_calls",
    "caller_id",
    "do_not_disturb",
    "record",
    "enabled",
    "forward_always",
    "forward_busy",
    "forward_no_answer",
    "forward_no_answer_after",
    "forward_not_registered",
]
ANNOUNCEMENTS = ("unknown-number", "busy", "unavailable", "not-permitted")
MAX_BYTES = 1024 * 1024 * 1024
MAX_PROBLEMS = 100

_TRUE = {"true", "yes", "1", "on"}
_FALSE = {"false", "no", "0", "off", ""}


class Users(msgspec.Struct, kw_only=True):
    """What a file gave: users, the line of each, and what was wrong with it."""

    users: list[User]
    lines: list[int]
    problems: list[Problem]


class _Wrong(Exception):  # noqa: N818  # never leaves this module
    def __init__(self, column: str, text: str) -> None:
        self.column = column
        super().__init__(text)


def _pattern(definition: str, *below: str) -> tuple[re.Pattern[str], str]:
    found = schema()["$defs"][definition]
    for step in below:
        found = found[step]
    # Only YAML needs quotes.
    expected = str(found["x-expected"]).replace(", in quotes", "").replace(" in quotes", "")
    return compiled(found["pattern"]), f"expected {expected}"


def read_users(file: str, data: bytes, tenant: str, realm: str) -> Users:
    """The users of a CSV file; ``realm`` is what their HA1s are made with.

    Never raises: everything wrong is in ``problems``, with the CSV's own file and line.
    """
    result = Users(users=[], lines=[], problems=[])
    try:
        rows = _rows(file, _decode(file, data))
        columns = next(rows)[1]
        _check_header(file, columns)
        _read_rows(file, rows, columns, _RowReader(tenant, realm), result)
    except SpecError as error:
        result.problems.extend(error.problems)
    return result


def stream_users(
    file: str, stream: BinaryIO, tenant: str, realm: str
) -> Iterator[tuple[int, User | Problem]]:
    """The users of a CSV file one after the other, each with its line, or what is wrong with it.

    For files that are too long to hold. Never raises for what is in the file.
    """
    try:
        rows = _rows_of(file, _lines(file, stream))
        columns = next(rows)[1]
        _check_header(file, columns)
        yield from _read(file, rows, columns, _RowReader(tenant, realm))
    except SpecError as error:
        for problem in error.problems:
            yield problem.line, problem


def _lines(file: str, stream: BinaryIO) -> Iterator[str]:
    for number, raw in enumerate(stream, 1):
        yield _decode(file, raw, number)


def _read(
    file: str, rows: Iterator[tuple[int, list[str]]], columns: list[str], reader: _RowReader
) -> Iterator[tuple[int, User | Problem]]:
    first: dict[str, int] = {}
    for line, row in rows:
        try:
            if len(row) != len(columns):
                fields = f"{len(row)} field{'' if len(row) == 1 else 's'}"
                raise _Wrong("", f"has {fields}, but the first line names {len(columns)}")
            user = reader.read(dict(zip(columns, row, strict=True)))
            if user.extension in first:
                where = f"first in line {first[user.extension]}"
                raise _Wrong("extension", f'"{user.extension}" is here twice, {where}')
        except _Wrong as wrong:
            yield line, _problem(file, line, wrong.column, str(wrong))
            continue
        first[user.extension] = line
        yield line, user


def _read_rows(
    file: str,
    rows: Iterator[tuple[int, list[str]]],
    columns: list[str],
    reader: _RowReader,
    result: Users,
) -> None:
    for line, found in _read(file, rows, columns, reader):
        if isinstance(found, User):
            result.users.append(found)
            result.lines.append(line)
            continue
        result.problems.append(found)
        if len(result.problems) >= MAX_PROBLEMS:
            more = f"{MAX_PROBLEMS} lines are wrong; the rest was not read"
            raise SpecError([_problem(file, line, "", more)])


def _problem(file: str, line: int, column: str, text: str) -> Problem:
    return Problem(file=file, line=line, column=1 if line else 0, path=column, text=text)


def _decode(file: str, data: bytes, first: int = 1) -> str:
    """Text without its mark; ``first`` is the number of its first line."""
    if len(data) > MAX_BYTES:
        raise SpecError([_problem(file, 0, "", "is over 1 GiB long")])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and first == 1:
        raise SpecError([_problem(file, 1, "", "this is UTF-16; save it as CSV UTF-8")])
    try:
        text = data.decode("utf-8-sig" if first == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + first
        text = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as CSV UTF-8"
        raise SpecError([_problem(file, line, "", text)]) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + first
        raise SpecError([_problem(file, line, "", "control character NUL; remove it")])
    return text


def _rows(file: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each began in, the header first; blank lines are left out."""
    return _rows_of(file, io.StringIO(text, newline=""))


def _rows_of(file: str, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    source = iter(lines)
    header = next(source, "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(chain([header], source), delimiter=delimiter, strict=True)
    line, empty = 1, True
    try:
        for row in reader:
            begin, line = line, reader.line_num + 1
            if not any(row):
                continue
            fields = [field.strip() for field in row]
            yield begin, [name.lower() for name in fields] if empty else fields
            empty = False
    except csv.Error as error:
        text = f"not CSV: {printable(str(error))}; is a quote not closed?"
        raise SpecError([_problem(file, line, "", text)]) from None
    if empty:
        text = "is empty; its first line names the columns: extension,name,…"
        raise SpecError([_problem(file, 0, "", text)])


def _check_header(file: str, columns: list[str]) -> None:
    problems: list[Problem] = []
    for index, name in enumerate(columns):
        if name not in COLUMNS:
            near = suggestion(name, COLUMNS) or f"; known are {', '.join(COLUMNS)}"
            problems.append(_problem(file, 1, "", f'column "{printable(name)}" is not known{near}'))
        elif name in columns[:index]:
            problems.append(_problem(file, 1, "", f'column "{name}" is here twice'))
    if "extension" not in columns:
        text = 'needs a column "extension"; the first line names the columns'
        problems.append(_problem(file, 1, "", text))
    if problems:
        raise SpecError(problems)


class _RowReader:
    def __init__(self, tenant: str, realm: str) -> None:
        self.tenant = tenant
        self.realm = realm
        self.patterns = {
            "extension": _pattern("extension"),
            "name": _pattern("text"),
            "email": _pattern("email"),
            "caller_id": _pattern("optional-e164"),
            "forward_no_answer_after": _pattern("duration"),
            "ha1_md5": _pattern("user", "properties", "ha1_md5"),
            "ha1_sha256": _pattern("user", "properties", "ha1_sha256"),
        }
        self.e164 = _pattern("e164")
        self.group = _pattern("name")
        self.permissions = schema()["$defs"]["permission"]["enum"]

    def read(self, row: dict[str, str]) -> User:
        for name, (pattern, expected) in self.patterns.items():
            value = row.get(name, "")
            if (value or name == "extension") and not pattern.fullmatch(value):
                shown = "" if name.startswith("ha1_") else f'"{printable(value)}": '
                raise _Wrong(name, f"{shown}{expected}")
        permission = row.get("permission", "") or "internal"
        if permission not in self.permissions:
            near = suggestion(permission, self.permissions)
            shown = f'"{printable(permission)}"'
            raise _Wrong(
                "permission", f"{shown}: expected internal, national or international{near}"
            )
        password = row.get("password", "")
        md5, sha256 = row.get("ha1_md5", ""), row.get("ha1_sha256", "")
        if password and (md5 or sha256):
            raise _Wrong("password", "give the password or its HA1s, not both")
        if password and self.realm:
            md5 = ha1(row["extension"], self.realm, password, "MD5")
            sha256 = ha1(row["extension"], self.realm, password, "SHA-256")
        return User(
            tenant=self.tenant,
            extension=row["extension"],
            name=row.get("name", ""),
            email=row.get("email", ""),
            ha1_md5=md5,
            ha1_sha256=sha256,
            permission=cast("Any", permission),
            max_calls=self._number(row, "max_calls", 10000),
            caller_id=row.get("caller_id", ""),
            do_not_disturb=self._flag(row, "do_not_disturb", default=False),
            forward=self._forward(row),
            record=self._flag(row, "record", default=False),
            enabled=self._flag(row, "enabled", default=True),
        )

    @staticmethod
    def _number(row: dict[str, str], name: str, most: int) -> int:
        value = row.get(name, "") or "0"
        if not re.fullmatch("[0-9]{1,9}", value) or int(value) > most:
            raise _Wrong(name, f'"{printable(value)}": expected a whole number from 0 to {most}')
        return int(value)

    @staticmethod
    def _flag(row: dict[str, str], name: str, *, default: bool) -> bool:
        value = row.get(name, "").lower()
        if value == "":
            return default
        if value not in _TRUE | _FALSE:
            raise _Wrong(name, f'"{printable(value)}": expected true or false')
        return value in _TRUE

    def _forward(self, row: dict[str, str]) -> Forward:
        if not any(row.get(name) for name in COLUMNS[12:]):
            return Forward()
        after = row.get("forward_no_answer_after", "")
        return Forward(
            always=self._destination(row, "forward_always"),
            busy=self._destination(row, "forward_busy"),
            no_answer=self._destination(row, "forward_no_answer"),
            no_answer_after=seconds(after) if after else 20,
            not_registered=self._destination(row, "forward_not_registered"),
        )

    def _destination(self, row: dict[str, str], name: str) -> Destination | None:
        value = row.get(name, "")
        if not value:
            return None
        kind, colon, target = value.partition(":")
        if not colon:
            kind, target = ("number" if value.startswith("+") else "extension"), value
        known: dict[str, Callable[[str], Any]] = {
            "extension": self.patterns["extension"][0].fullmatch,
            "number": self.e164[0].fullmatch,
            "ring_group": self.group[0].fullmatch,
            "menu": self.group[0].fullmatch,
            "announcement": ANNOUNCEMENTS.__contains__,
        }
        if kind not in known or not known[kind](target):
            raise _Wrong(
                name,
                f'"{printable(value)}": expected an extension, a number such as +493012345670,'
                " ring_group:<name>, menu:<name> or announcement:<name>",
            )
        return Destination(kind=cast("Any", kind), target=target)
