"""`pbxctl destroy`."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import count
from pbxctl.lock import LockedError, hold


@click.command("destroy")
@optional_spec
@which
@click.option("-y", "--auto-approve", is_flag=True, help="Do not ask.")
@common
def command(here: Here, spec: Path | None, cluster: str | None, auto_approve: bool) -> None:
    """Stop all jobs and the engine, and remove everything that was written: users and recordings
    too.
    """
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    directory = here.directory(name)
    if not directory.exists():
        if here.out.json:
            here.out.value({"cluster": name, "destroyed": False})
        here.out.line(f"{name} has no state below {here.root}; nothing to destroy")
        return
    engine = engine_of(here, name)
    if not auto_approve:
        _ask(here, name, directory, len(trio.run(engine.jobs, name)))
    try:
        with hold(directory, "destroy"):
            trio.run(engine.destroy)
    except LockedError as error:
        raise CommandError(str(error)) from None
    if here.out.json:
        here.out.value({"cluster": name, "destroyed": True})
    here.out.line(f"{name} is gone: nothing of it runs, {directory} is removed")


def _ask(here: Here, name: str, directory: Path, jobs: int) -> None:
    if here.out.json:
        raise click.UsageError("destroy --json asks nothing: give --auto-approve")
    here.out.line(f"{name}: {count(jobs, 'job')} will stop; {directory} will be removed,")
    here.out.line("with users, recordings and call records. Calls that are up end.")
    try:
        answer: str = click.prompt(f"Type {name} to go on", default="", show_default=False)
    except click.Abort:
        if not here.out.out.is_terminal:
            raise CommandError("nobody answered; nothing was destroyed") from None
        raise
    if answer.strip() != name:
        raise CommandError("not confirmed; nothing was destroyed")
