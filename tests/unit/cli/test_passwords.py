"""Passwords: where they come from, and that only HA1s are made of them."""

from __future__ import annotations

import io

import click
import pytest

from pbxctl.commands.failure import CommandError
from pbxctl.commands.passwords import checked, generated, ha1s, obtain


def test_generated_ones_differ_and_can_be_typed() -> None:
    made = {generated() for _ in range(200)}
    assert len(made) == 200
    assert all(len(each) == 20 and each.isalnum() for each in made)
    assert not set("".join(made)) & set("l1I0Oio")


def test_from_standard_input_without_its_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sword fish\r\nmore\n"))
    assert obtain(stdin=True, generate=False, json=False) == "sword fish"


def test_no_terminal_to_ask_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n"))
    with pytest.raises(click.UsageError, match="--password-stdin or --generate"):
        obtain(stdin=False, generate=False, json=False)
    with pytest.raises(click.UsageError, match="not both"):
        obtain(stdin=True, generate=True, json=False)


@pytest.mark.parametrize(
    ("password", "said"), [("", "is empty"), ("x" * 129, "longer than 128"), ("a\tb", "control")]
)
def test_what_no_phone_can_be_told(password: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        checked(password)
    assert not password or password not in refused.value.message


def test_ha1s_are_those_of_rfc_7616() -> None:
    # RFC 7616 section 3.9.1: user "Mufasa", realm "http-auth@example.org", "Circle of Life".
    made = ha1s("Mufasa", "http-auth@example.org", "Circle of Life")
    assert made["ha1_md5"] == "3d78807defe7de2157e2b0b6573a855f"
    assert made["ha1_sha256"] == (
        "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
    )
