"""`pbxctl server enable`, `disable` and `drain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec
import trio

from pbxctl.commands.context import Here, common, which
from pbxctl.commands.failure import ERROR, INTERRUPTED, OK, CommandError
from pbxctl.commands.output import took
from pbxctl.commands.progress_view import shown
from pbxctl.engines.engine import Engine, EngineError
from pbxctl.lock import user
from pbxctl.observe import look, stopped_text
from pbxctl.registry_client import RegistryClient
from pbxctl.servers import TAKES_CALLS, Crew, Drained, roles_of
from services.core.configuration import Switch, SwitchState

F = TypeVar("F", bound=Callable[..., Any])


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. ``late``: Call Managers that did not go by it yet, by role."""

    cluster: str
    server: str
    state: SwitchState
    roles: tuple[str, ...]
    late: dict[str, list[str]]
    alone: tuple[str, ...] = ()
    drained: tuple[Drained, ...] = ()


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    server: str
    role: str | None
    state: SwitchState
    reason: str = ""
    deadline: float | None = None


@click.group("server")
def command() -> None:
    """Take a server out of service and back."""


def _target(function: F) -> F:
    """Adds the server's name and --role."""
    named = click.argument("name", metavar="SERVER")(function)
    return click.option("--role", metavar="ROLE", help="Only this role of it.")(named)


def _reason(function: F) -> F:
    return click.option("--reason", default="", help="Shown by pbxctl status.")(function)


@command.command("enable")
@_target
@which
@common
def enable(here: Here, name: str, role: str | None, cluster: str | None) -> int:
    """Put SERVER into service again, whoever took it out."""
    return _switch(here, cluster, Wish(server=name, role=role, state="enabled"))


@command.command("disable")
@_target
@_reason
@which
@common
def disable(here: Here, name: str, role: str | None, reason: str, cluster: str | None) -> int:
    """Take SERVER out of service: it gets no new calls. Calls that it has go on."""
    wish = Wish(server=name, role=role, state="disabled", reason=reason)
    return _switch(here, cluster, wish)


@command.command("drain")
@_target
@_reason
@click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    help="Seconds after which calls that are left go to another server, or end where none can "
    "take them.  [default: wait for their end]",
)
@which
@common
def drain(
    here: Here,
    name: str,
    role: str | None,
    reason: str,
    deadline: float | None,
    cluster: str | None,
) -> int:
    """Take SERVER out of service and wait until it has no calls left.

    It stays out of service; pbxctl server enable takes it back.
    """
    wish = Wish(server=name, role=role, state="draining", reason=reason, deadline=deadline)
    return _switch(here, cluster, wish)


def _switch(here: Here, cluster: str | None, wish: Wish) -> int:
    from pbxctl.commands.loading import engine_of

    chosen = here.choose(cluster)
    engine = engine_of(here, chosen)
    try:
        with shown(here.out) as progress:
            done = trio.run(_do, engine, chosen, wish, progress.doing)
    except LookupError as error:
        raise CommandError(f"{error.args[0]}; nothing was changed") from None
    except KeyboardInterrupt:
        raise CommandError(
            f"stopped waiting; {wish.server} is {wish.state} all the same: "
            f"pbxctl server enable {wish.server} takes that back",
            exit_code=INTERRUPTED,
        ) from None
    _tell(here, done)
    return ERROR if done.late else OK


async def _do(engine: Engine, cluster: str, wish: Wish, tell: Callable[[str], None]) -> Done:
    picture = await look(engine, cluster)
    if not picture.engine_runs or picture.endpoints is None:
        raise EngineError(stopped_text(cluster, await engine.left_behind(cluster)))
    if not picture.jobs and not picture.services:
        raise EngineError("; ".join(picture.problems) or f"{cluster} has no servers")
    # An engine that is away is no reason to leave an ill server in service.
    roles = roles_of((*picture.jobs, *picture.services), wish.server, wish.role)
    endpoints = picture.endpoints
    late: dict[str, list[str]] = {}
    alone: list[str] = []
    switch = None
    if wish.state != "enabled":
        switch = Switch(state=wish.state, reason=wish.reason, by=user(), since=time.time())
    with RegistryClient.of(endpoints, cluster) as registry:
        crew = Crew(registry=registry, endpoints=endpoints)
        carriers = [role for role in roles if wish.state == "draining" and role in TAKES_CALLS]
        # What ends while the switch is being written has finished, too.
        before = {role: await crew.calls_known(wish.server, role) for role in carriers}
        for role in roles:
            tell(f"{wish.state}: {role} on {wish.server}")
            if waiting := await crew.switch(wish.server, role, switch):
                late[role] = waiting
            if switch and role in TAKES_CALLS and await crew.alone(wish.server, role):
                alone.append(role)
        drained = [
            await crew.drain(wish.server, role, wish.deadline, tell, before=before[role])
            for role in carriers
        ]
    return Done(
        cluster=cluster,
        server=wish.server,
        state=wish.state,
        roles=tuple(roles),
        late=late,
        alone=tuple(alone),
        drained=tuple(drained),
    )


def _tell(here: Here, done: Done) -> None:
    if here.out.json:
        here.out.value(done)
        return
    for role in done.alone:
        here.out.note(f"no other server does {role} now", style="yellow")
    for role, managers in done.late.items():
        names = ", ".join(managers)
        here.out.note(f"{role}: {names} does not go by it yet; see pbxctl status", style="yellow")
    for one in done.drained:
        here.out.line(
            f"{done.server} {one.role}: drained in {took(one.seconds)}: {one.handed_over} handed "
            f"over, {one.finished} finished, {one.cut} cut"
        )
    roles = ", ".join(done.roles)
    back = "" if done.state == "enabled" else f"; pbxctl server enable {done.server} takes it back"
    here.out.line(f"{done.server} is {done.state} ({roles}){back}")
