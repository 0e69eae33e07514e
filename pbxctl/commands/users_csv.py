"""`pbxctl users import` and `export`."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec
import trio

from pbxctl.admin_client import users_path
from pbxctl.commands.context import Here, common, which
from pbxctl.commands.directory import Listed, Store, store, tenant_option
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import clean, count, took
from pbxctl.engines.engine import Engine
from pbxctl.spec import Problem
from pbxctl.spec.users import COLUMNS as ALL
from pbxctl.spec.users import stream_users
from services.core import configuration
from services.core.configuration import Destination, User

CHUNK = 64 * 1024
STEP = 50_000
"""Rows between two words of progress."""

COLUMNS = [name for name in ALL if name != "password" and not name.startswith("ha1_")]
"""What an export has: no secret, nor what is as good as one."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of a bulk, in users."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@tenant_option
@which
@common
def import_users(here: Here, file: Path, tenant: str | None, cluster: str | None) -> None:
    """Add or change the users of FILE, a CSV whose first line names its columns.

    \b
    extension (needed), name, email, permission, password or ha1_md5 and ha1_sha256,
    max_calls, caller_id, do_not_disturb, record, enabled, forward_always, forward_busy,
    forward_no_answer, forward_no_answer_after, forward_not_registered

    Every line is checked first; if one is bad, all bad ones are reported and nothing is changed.
    Who has no password in the file keeps the one there is.
    """
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster)
    begun = time.monotonic()
    whose, done = trio.run(_import, here, engine_of(here, name), name, tenant, file)
    seconds = time.monotonic() - begun
    if here.out.json:
        here.out.value(
            {"cluster": name, "tenant": whose, "seconds": round(seconds, 3)}
            | msgspec.to_builtins(done)
        )
        return
    here.out.line(
        f"{whose}: {count(done.written, 'user')} written, {done.unchanged:,} as they were, "
        f"in {took(seconds)}"
    )


async def _import(
    here: Here, engine: Engine, cluster: str, tenant: str | None, file: Path
) -> tuple[str, Imported]:
    async with store(engine, cluster, tenant) as users:
        owned = await users.of_the_spec()

        def told(what: str) -> Callable[[int], None]:
            return lambda rows: here.out.note(f"  {what} {rows:,} rows")

        problems, rows = await trio.to_thread.run_sync(check, file, users, owned, told("checked"))
        if problems:
            raise CommandError(
                f"{count(len(problems), 'bad line')} in {file}; nothing was changed",
                details=tuple(str(problem) for problem in problems),
                facts={"problems": [msgspec.to_builtins(problem) for problem in problems]},
            )
        here.out.note(f"{count(rows, 'row')} {'is' if rows == 1 else 'are'} good; sending")
        done = await users.client.stream(
            users_path(users.tenant.name),
            _send(file, users, owned, told("sent")),
            Imported,
            {},
        )
        # What was neither written nor found to be there already is the spec's, and as it says.
        return users.tenant.name, msgspec.structs.replace(done, unchanged=rows - done.written)


def read(file: Path, users: Store) -> Iterator[tuple[int, User | Problem]]:
    """Line and user, or what is wrong with the line; a row at a time."""
    with file.open("rb") as stream:
        yield from stream_users(str(file), stream, users.tenant.name, users.realm)


def check(
    file: Path, users: Store, owned: Mapping[str, Listed], told: Callable[[int], None]
) -> tuple[list[Problem], int]:
    """All that is wrong with the file, and how many rows it has.

    ``owned`` belong to the spec: a row that says of one what the spec does is passed over, as all
    of what `export` wrote is; any other is refused.
    """
    problems: list[Problem] = []
    rows = 0
    for line, found in read(file, users):
        rows += 1
        if rows % STEP == 0:
            told(rows)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.extension in owned and not same(found, owned[found.extension]):
            text = f"{found.extension} belongs to the spec: change it there and run pbxctl apply"
            problems.append(
                Problem(file=str(file), line=line, column=1, path="extension", text=text)
            )
    return problems, rows


def same(found: User, there: Listed) -> bool:
    """Whether a row would change nothing of a user. A password always counts as a change."""
    return not (found.ha1_md5 or found.ha1_sha256) and row(found) == row(there)


async def _send(
    file: Path, users: Store, owned: Container[str], told: Callable[[int], None]
) -> AsyncGenerator[bytes]:
    """The users as NDJSON, a chunk at a time, so that memory does not grow with the file."""
    chunk = bytearray()
    for rows, (line, found) in enumerate(read(file, users), 1):
        if isinstance(found, Problem):
            # It was good a moment ago. Breaking off here makes the API forget what it was sent.
            raise CommandError(f"{file}:{line}: changed while it was read; nothing was changed")
        if found.extension not in owned:
            chunk += configuration.encode(found) + b"\n"
        if rows % STEP == 0:
            told(rows)
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


@click.command("export")
@tenant_option
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; standard output if not given.",
)
@which
@common
def export_users(here: Here, tenant: str | None, target: Path | None, cluster: str | None) -> None:
    """Write a tenant's users as CSV, as `import` reads them. Passwords are not in it."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster)
    if here.out.json and target is None:
        raise click.UsageError("export --json needs --out: standard output has the result")
    opened = target.open("w", newline="", encoding="utf-8") if target else nullcontext(sys.stdout)
    with opened as stream:
        rows = trio.run(_export, engine_of(here, name), name, tenant, stream)
    if here.out.json:
        here.out.value({"cluster": name, "file": str(target), "users": rows})
    elif target:
        here.out.line(f"{count(rows, 'user')} in {target}")


async def _export(engine: Engine, cluster: str, tenant: str | None, stream: TextIO) -> int:
    rows = 0
    async with store(engine, cluster, tenant) as users:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        async for user in users.all():
            writer.writerow(row(user))
            rows += 1
    return rows


def row(user: User) -> list[Any]:
    """A user's cells, by `COLUMNS`."""
    forward = user.forward
    cells = {
        "extension": user.extension,
        "name": clean(user.name),
        "email": user.email,
        "permission": user.permission,
        "max_calls": user.max_calls,
        "caller_id": user.caller_id,
        "do_not_disturb": flag(user.do_not_disturb),
        "record": flag(user.record),
        "enabled": flag(user.enabled),
        "forward_always": destination(forward.always),
        "forward_busy": destination(forward.busy),
        "forward_no_answer": destination(forward.no_answer),
        "forward_no_answer_after": f"{forward.no_answer_after}s" if forward.no_answer else "",
        "forward_not_registered": destination(forward.not_registered),
    }
    return [cells[name] for name in COLUMNS]


def flag(value: bool) -> str:
    """As the import reads it."""
    return "true" if value else "false"


def destination(value: Destination | None) -> str:
    """As the import reads it: ``extension:2001``."""
    return f"{value.kind}:{value.target}" if value else ""
