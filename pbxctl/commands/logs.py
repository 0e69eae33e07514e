"""`pbxctl logs`."""

from __future__ import annotations

from collections.abc import Sequence

import click
import trio

from pbxctl.commands.context import Here, common, which
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import clean
from pbxctl.engines.engine import Engine, JobStatus

WINDOW = 2000
"""Lines compared between two polls while following; of a task that writes more, some are lost."""


@click.command("logs")
@click.argument("name", metavar="SERVER|JOB")
@click.argument("task", required=False)
@click.option(
    "-n", "--lines", type=click.IntRange(min=1, max=100_000), default=50, show_default=True
)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@which
@common
def command(
    here: Here, name: str, task: str | None, lines: int, follow: bool, cluster: str | None
) -> None:
    """Print what the tasks of a server or job wrote, or only what TASK wrote.

    The name is a server's (cm1: all its jobs) or a job's (acme-media-media1).
    """
    from pbxctl.commands.loading import engine_of

    chosen = here.choose(cluster)
    trio.run(_logs, here, engine_of(here, chosen), chosen, name, task, lines, follow)


async def _logs(
    here: Here,
    engine: Engine,
    cluster: str,
    name: str,
    task: str | None,
    lines: int,
    follow: bool,
) -> None:
    sources = select(await engine.jobs(cluster), name, task)
    if follow:
        await _follow(here, engine, sources, lines)
        return
    texts = [(job, each, await engine.logs(job, each, lines=lines)) for job, each in sources]
    if here.out.json:
        here.out.value(
            [{"job": job, "task": each, "lines": text.splitlines()} for job, each, text in texts]
        )
        return
    for job, each, text in texts:
        if len(sources) > 1:
            here.out.line(f"==> {job} {each} <==", style="bold")
        for line in text.splitlines():
            here.out.line(clean(line.expandtabs()))


async def _follow(
    here: Here, engine: Engine, sources: Sequence[tuple[str, str]], lines: int
) -> None:
    last: dict[tuple[str, str], list[str]] = {}
    while True:
        for job, task in sources:
            now = (await engine.logs(job, task, lines=max(lines, WINDOW))).splitlines()
            before = last.get((job, task))
            for line in now[-lines:] if before is None else added(before, now):
                if here.out.json:
                    click.echo(_json_line(job, task, line))
                else:
                    label = f"{task}: " if len(sources) > 1 else ""
                    here.out.line(label + clean(line.expandtabs()))
            last[job, task] = now
        await trio.sleep(0.5)


def _json_line(job: str, task: str, line: str) -> bytes:
    import msgspec

    return msgspec.json.encode({"job": job, "task": task, "line": line})


def added(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """What came after ``before``, both being one log's last lines; all if nothing is shared."""
    for start in range(len(before)):
        known = before[start:]
        if now[: len(known)] == known:
            return list(now[len(known) :])
    return list(now)


def select(jobs: Sequence[JobStatus], name: str, task: str | None) -> list[tuple[str, str]]:
    """(job, task) of what is meant. Raises CommandError that names what there is."""
    chosen = [job for job in jobs if name in (job.id, job.server)]
    if not chosen:
        known = sorted({job.server for job in jobs} | {job.id for job in jobs})
        there = f"; there are {', '.join(known)}" if known else "; nothing runs"
        raise CommandError(f"no server or job is named {name}{there}")
    found = [
        (job.id, each.name) for job in chosen for each in job.tasks if task in (None, each.name)
    ]
    if not found:
        known = sorted({each.name for job in chosen for each in job.tasks})
        raise CommandError(f"{name} has no task {task}; it has {', '.join(known) or 'none yet'}")
    return found
