"""Users as lines: chunks cut anywhere, every problem with its line, no password ever."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.api.ndjson import LONGEST, MOST_PROBLEMS, Lines
from services.core.configuration import User, digest, encode

USERS = tuple(
    User(tenant="acme", extension=f"{2000 + number}", name="Jörg", ha1_md5="0" * 32)
    for number in range(20)
)
BODY = b"".join(encode(user) + b"\n" for user in USERS)


def read(body: bytes) -> Lines:
    lines = Lines("acme")
    lines.feed(body)
    lines.end()
    return lines


@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=20))
def test_chunks_may_be_cut_anywhere(cuts: list[int]) -> None:
    lines, begin = Lines("acme"), 0
    for end in [*sorted(cuts), len(BODY)]:
        lines.feed(BODY[begin:end])
        begin = end
    lines.end()
    assert lines.problems == []
    assert tuple(map(encode, lines.take())) == tuple(map(encode, USERS))
    assert lines.digest() == digest(encode(USERS))


def test_the_digest_of_nobody() -> None:
    assert read(b"").digest() == digest(encode(()))


def test_the_last_line_needs_no_end_and_empty_lines_are_passed() -> None:
    assert read(b"\n" + BODY.rstrip() + b"\n\n  \n").count == 20


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"password": "geheim"}, "unknown field `password`"),
        ({"ha1_md5": "geheim"}, "never a password"),
        ({"ha1_sha256": "0" * 32}, "never a password"),
        ({"extension": "alice"}, "extension: expected 2 to 15 digits"),
        ({"caller_id": "030123"}, "caller_id: expected a number with plus"),
        ({"tenant": "other"}, "tenant: expected acme"),
        ({"permission": "all"}, "$.permission"),
        ({"max_calls": -1}, "max_calls: expected 0 or more"),
        ({"extension": "2000"}, "2000 is in an earlier line too"),
    ],
)
def test_a_wrong_line_is_told_and_nothing_is_taken(
    fields: dict[str, object], expected: str
) -> None:
    line = json.dumps({"tenant": "acme", "extension": "3000"} | fields).encode()
    lines = read(BODY + line + b"\n")
    assert len(lines.problems) == 1
    assert lines.problems[0].startswith("line 21: ")
    assert expected in lines.problems[0]
    assert "geheim" not in lines.problems[0]
    assert lines.take() == []


def test_many_problems_are_told_up_to_a_number() -> None:
    assert len(read(b"{\n" * 1000).problems) == MOST_PROBLEMS


def test_an_endless_line_is_given_up() -> None:
    lines = Lines("acme")
    for _ in range(10):
        lines.feed(b"x" * LONGEST)
    lines.end()
    assert lines.problems[0].startswith("line 1: ")
    assert len(lines.problems) <= MOST_PROBLEMS


@given(st.binary(max_size=300))
def test_rubbish_is_a_problem_and_no_exception(body: bytes) -> None:
    lines = read(body)
    assert lines.problems or lines.count == 0
