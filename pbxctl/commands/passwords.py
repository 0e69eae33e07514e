"""Where a password comes from. It leaves this process as HA1s only."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from pbxctl.commands.failure import CommandError
from services.core.configuration import User, ha1

F = TypeVar("F", bound=Callable[..., Any])

ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without what is mistaken for another: l and 1, I, O and 0, i and o."""
LENGTH = 20
LONGEST = 128


def password_options(command: F) -> F:
    """Adds ``--password-stdin`` and ``--generate``."""
    generate = click.option(
        "--generate", is_flag=True, help="Make a password and print it, this once."
    )
    stdin = click.option("--password-stdin", is_flag=True, help="Read it from standard input.")
    return stdin(generate(command))


def generated() -> str:
    """A new password, about 116 bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def obtain(*, stdin: bool, generate: bool, json: bool) -> str:
    """The password, from where the options say, else asked for twice. Raises CommandError."""
    if stdin and generate:
        raise click.UsageError("give --password-stdin or --generate, not both")
    if generate:
        return generated()
    if stdin:
        return checked(sys.stdin.readline(LONGEST * 8).rstrip("\r\n"))
    if json or not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask on: give --password-stdin or --generate")
    first: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return checked(first)


def checked(password: str) -> str:
    """The password, if a phone can be told it. Raises CommandError."""
    if not password:
        raise CommandError("the password is empty; nothing was changed")
    if len(password) > LONGEST:
        raise CommandError(f"the password is longer than {LONGEST}; nothing was changed")
    if not password.isprintable():
        raise CommandError("the password has a control character; nothing was changed")
    return password


def ha1s(extension: str, realm: str, password: str) -> dict[str, str]:
    """Both HA1s, by the names of their fields in `User`."""
    return {
        "ha1_md5": ha1(extension, realm, password, "MD5"),
        "ha1_sha256": ha1(extension, realm, password, "SHA-256"),
    }


def public(user: User) -> dict[str, object]:
    """A user's fields without HA1s: they are as good as the password to who holds them."""
    fields: dict[str, object] = msgspec.to_builtins(user)
    return {name: value for name, value in fields.items() if not name.startswith("ha1_")}
