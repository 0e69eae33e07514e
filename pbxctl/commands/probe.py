"""`pbxctl probe`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from pbxctl import probe
from pbxctl.admin_client import AdminError, user_path
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.directory import Store, store, tenant_option
from pbxctl.commands.failure import ERROR, OK, CommandError
from pbxctl.commands.passwords import generated, ha1s
from pbxctl.engines.engine import Engine
from pbxctl.observe import managers
from pbxctl.probe.report import Account, Direction, Report, Target, Trial
from services.core.configuration import User

TRANSPORTS = ("udp", "tcp", "tls")
IN_FORCE = 1.0
"""Seconds after which a new user can register."""
HEADINGS = (
    "TRANSPORT", "RESULT", "REGISTER", "RINGING", "ANSWER", "CODEC", "HEARD", "LIKENESS", "LOST",
    "GAP", "DELAY",
)  # fmt: skip


@click.command("probe")
@optional_spec
@which
@tenant_option
@click.option(
    "--transport",
    "transports",
    type=click.Choice(TRANSPORTS),
    multiple=True,
    help="May be given again.  [default: all three]",
)
@click.option("--caller", metavar="EXTENSION", help="Call as this user.")
@click.option("--callee", metavar="EXTENSION", help="Call this user.")
@click.option(
    "--passwords-stdin", is_flag=True, help="Read the caller's, then the callee's password."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=4.0, show_default=True, help="Of each call."
)
@click.option(
    "--encryption", type=click.Choice(["none", "optional", "mandatory"]), default="none",
    show_default=True, help="Of the audio (SRTP).",
)  # fmt: skip
@click.option("--host", help="Where to call to.  [default: the Call Manager]")
@click.option("--port", type=click.IntRange(1, 65535), help="SIP over UDP and TCP.")
@click.option("--tls-port", type=click.IntRange(1, 65535), help="SIP over TLS.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option(
    "--recordings",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to leave in what each phone heard.",
)
@common
def command(
    here: Here,
    spec: Path | None,
    cluster: str | None,
    tenant: str | None,
    transports: tuple[Any, ...],
    caller: str | None,
    callee: str | None,
    passwords_stdin: bool,
    seconds: float,
    encryption: Any,
    host: str | None,
    port: int | None,
    tls_port: int | None,
    insecure: bool,
    recordings: Path | None,
) -> int:
    """Do what phones do: register, call, speak both ways, hang up; judge what was heard.

    Two users are made for it and removed afterwards, unless --caller and --callee name two.
    Exit status 0 if every transport works, 1 if not.
    """
    from pbxctl.commands.loading import engine_of

    if (caller is None) != (callee is None) or (caller is not None) != passwords_stdin:
        raise click.UsageError("--caller, --callee and --passwords-stdin go together")
    known = _two_passwords() if passwords_stdin else None
    name = here.choose(cluster, spec)
    engine = engine_of(here, name)

    async def run() -> Report:
        target = await _target(here, engine, name)
        given = {"host": host, "port": port, "tls_port": tls_port}
        changes = {key: value for key, value in given.items() if value is not None}
        target = msgspec.structs.replace(target, **changes)
        if insecure:
            target = msgspec.structs.replace(target, verify=False)
        async with store(engine, name, tenant) as users, _accounts(
            users, caller, callee, known
        ) as (near, far):  # fmt: skip
            return await probe.run(
                target,
                near,
                far,
                transports=transports or probe.TRANSPORTS,
                seconds=seconds,
                encryption=encryption,
                recordings=recordings,
                finished=lambda trial: here.out.note(_told(trial)),
            )

    try:
        report = trio.run(run)
    except probe.ProbeError as error:
        raise CommandError(str(error)) from None
    if here.out.json:
        here.out.value(msgspec.to_builtins(report) | {"ok": report.ok})
    else:
        here.out.table(HEADINGS, [row for trial in report.trials for row in rows(report, trial)])
        for trial in report.trials:
            for problem in trial.problems:
                here.out.line(f"{trial.transport}: {problem}", style="red")
    return OK if report.ok else ERROR


def _two_passwords() -> tuple[str, str]:
    lines = sys.stdin.read(4096).splitlines()
    if len(lines) < 2 or not all(lines[:2]):
        raise CommandError("standard input: expected two lines, the passwords of caller and callee")
    return lines[0], lines[1]


async def _target(here: Here, engine: Engine, cluster: str) -> Target:
    """The Call Manager as it registered itself; its certificate, where it is on this machine."""
    services, _ = await managers(engine, cluster)
    manager = services[0]
    data = here.directory(cluster) / "data" / manager.server / "call-manager"
    certificate = data / "tls" / "cert.pem"
    own = certificate.is_file()
    return Target(
        host=manager.meta.get("vip") or manager.address,
        port=int(manager.meta.get("sip_port", "5060")),
        tls_port=int(manager.meta.get("tls_port", "5061")),
        ca_file=str(certificate) if own else "",
    )


@asynccontextmanager
async def _accounts(
    users: Store, caller: str | None, callee: str | None, known: tuple[str, str] | None
) -> AsyncGenerator[tuple[Account, Account]]:
    """Two users' accounts: those named, or two that are there for this block only."""
    if caller and callee and known:
        yield _account(users, caller, known[0]), _account(users, callee, known[1])
        return
    made: list[Account] = []
    try:
        for _ in range(2):
            # Long enough that no real extension is in its way.
            extension = f"99{secrets.randbelow(10**11):011d}"
            account = _account(users, extension, generated())
            user = User(tenant=users.tenant.name, extension=extension, name="pbxctl probe")
            fields = ha1s(extension, users.realm, account.password)
            made.append(account)
            await users.client.put_user(msgspec.structs.replace(user, **fields))
        await trio.sleep(IN_FORCE)
        yield made[0], made[1]
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            for account in made:
                await _remove(users, account.username)


async def _remove(users: Store, extension: str) -> None:
    try:
        await users.client.send("DELETE", user_path(users.tenant.name, extension))
    except AdminError as error:
        if error.status != 404:
            raise


def _account(users: Store, extension: str, password: str) -> Account:
    return Account(username=extension, password=password, domain=users.realm)


def _told(trial: Trial) -> str:
    return f"  {trial.transport}: {'; '.join(trial.problems) or 'works'}"


def rows(report: Report, trial: Trial) -> list[tuple[str, ...]]:
    """A line each way; the call's own times on the first."""
    call = (
        trial.transport,
        "failed" if trial.problems else "ok",
        _ms(trial.register),
        _ms(trial.ringing),
        _ms(trial.answer),
        f"{trial.codec or '-'}{' SRTP' if trial.encrypted else ''}",
    )
    ways = [_way(report, way) for way in trial.directions] or [("-",) * 5]
    blank = ("",) * len(call)
    return [(*(call if index == 0 else blank), *way) for index, way in enumerate(ways)]


def _way(report: Report, way: Direction) -> tuple[str, ...]:
    speaks = report.caller.startswith(f"sip:{way.speaker}@")
    return (
        "caller by callee" if speaks else "callee by caller",
        f"{way.likeness:.2f}",
        f"{way.lost}/{way.received + way.lost}",
        f"{way.longest_gap:.0f} ms",
        _ms(way.delay),
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
