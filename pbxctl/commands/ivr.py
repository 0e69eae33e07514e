"""`pbxctl ivr simulate`."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.failure import CommandError

if TYPE_CHECKING:
    from pbxctl.simulate import Turn, Walk
    from pbxctl.spec import Tenant

SIGNS = {"heard": "«", "pressed": "»", "answer": "»"}
AT = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]


@click.group("ivr")
def command() -> None:
    """Menus: what callers hear and what their keys do."""


@command.command("simulate")
@spec_argument
@click.argument("menu")
@click.option("--tenant", metavar="NAME", help="Whose menu; not needed where only one has it.")
@click.option(
    "--at",
    type=click.DateTime(AT),
    help="When the call comes, on this machine's clock, such as 2026-12-24T10:00.  [default: now]",
)
@click.option("--caller", default="+4930555", show_default=True, help="Who calls.")
@click.option("--called", default="", help="The number that was called.")
@click.option(
    "--do",
    "script",
    multiple=True,
    metavar="WHAT",
    help="What happens, in this order, instead of asking: keys such as 1 or 2001#, - for silence, "
    "answer, busy or a SIP status, JSON, hang-up. May be given many times.",
)
@common
def simulate(
    here: Here,
    spec: Path,
    menu: str,
    tenant: str | None,
    at: datetime.datetime | None,
    caller: str,
    called: str,
    script: tuple[str, ...],
) -> None:
    """Walk through MENU of SPEC in the terminal, as a caller would.

    It is the IVR servers' own machine; nothing has to run, nobody is called, no web service is
    asked. At the end of the script the caller hangs up.
    """
    from pbxctl.commands.loading import load_spec
    from pbxctl.simulate import EXPECTED, Walk, WalkError

    owner = _owner(load_spec(spec).spec.tenants, menu, tenant)
    now = time.time() if at is None else at.timestamp()
    walk = Walk(owner, menu, now, caller=caller, called=called)
    shown = _show(here, walk, 0)
    given: Iterator[str] = iter(script)
    ask = not script and not here.out.json
    while walk.waits != "over":
        what = _prompt(EXPECTED[walk.waits]) if ask else next(given, "hang-up")
        try:
            walk.give(what)
        except WalkError as error:
            if not ask:
                raise CommandError(f'"{what}": {error}') from None
            here.out.note(str(error), style="yellow")
        shown = _show(here, walk, shown)
    left = list(given)
    if left:
        raise CommandError(f'the call is over, and "{left[0]}" is left to do')
    if here.out.json:
        here.out.value({"turns": walk.turns, "over": walk.why})
    else:
        here.out.line(f"over: {walk.why}", style="bold")


def _owner(tenants: tuple[Tenant, ...], menu: str, name: str | None) -> Tenant:
    from pbxctl.spec.problems import suggestion

    if name is not None and name not in {each.name for each in tenants}:
        near = suggestion(name, [each.name for each in tenants])
        raise CommandError(f"no tenant is named {name!r}{near}")
    asked = [each for each in tenants if name in (None, each.name)]
    found = [each for each in asked if menu in each.menus]
    if len(found) == 1:
        return found[0]
    if not found:
        near = suggestion(menu, [each for owner in asked for each in owner.menus])
        raise CommandError(f"no menu is named {menu!r}{near}")
    names = ", ".join(each.name for each in found)
    raise CommandError(f"several tenants have a menu {menu}: {names}; say which with --tenant")


def _show(here: Here, walk: Walk, shown: int) -> int:
    for turn in walk.turns[shown:]:
        here.out.line(_line(turn))
    return len(walk.turns)


def _line(turn: Turn) -> str:
    from pbxctl.commands.output import clean

    minutes, seconds = divmod(int(turn.at), 60)
    words = "" if turn.what in SIGNS else f"{turn.what} "
    language = f"[{turn.language}] " if turn.language else ""
    text = clean(f"{words}{language}{turn.text}".rstrip())
    return f"{minutes}:{seconds:02}  {SIGNS.get(turn.what, '·')} {text}"


def _prompt(expected: str) -> str:
    try:
        return str(click.prompt(expected, prompt_suffix="\n> ", err=True))
    except click.Abort:
        return "hang-up"
