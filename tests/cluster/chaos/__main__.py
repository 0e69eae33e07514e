"""``python -m tests.cluster.chaos``: see the package."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from tests.cluster.chaos import ivr, media, soak, vip, vrrp
from tests.cluster.chaos.calls import LOSSES
from tests.cluster.chaos.cluster import cluster
from tests.cluster.chaos.figures import (
    HEAD,
    KIND_HEAD,
    Trial,
    cells,
    kinds,
    markdown_table,
    rows,
    text_table,
)
from tests.cluster.chaos.results import Broke, Came, Results, next_failure
from tests.cluster.media_fleet import media_fleet
from tests.cluster.menus import menus

log = logging.getLogger("chaos")

TRIAL = 150.0
"""Seconds for a trial: what takes longer has broken off."""
LABS_AT_MOST = 3
"""Labs in which trials break off and nothing gets well again, before that is the result."""
SHARE = 3
"""One in so many trials may break off."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` trials of each, in a file or not; none begins after ``until`` (monotonic).

    ``logs`` is a directory for the logs of trials of the VIP that lost a call.
    """

    results: Results
    count: int
    until: float
    logs: Path | None = None

    def next(self, names: list[str]) -> str:
        """What to fail now, empty for nothing more."""
        return next_failure(self.results, names, self.count) if self.time_left() else ""

    def time_left(self) -> bool:
        return time.monotonic() < self.until


class IllError(Exception):
    """A trial broke off and the lab did not get well again: it takes another lab."""


async def repeat(
    wanted: Wanted,
    names: list[str],
    one: Callable[[str], Awaitable[list[Trial]]],
    mend: Callable[[], Awaitable[None]],
) -> None:
    """Trials of each, in turn; one that breaks off is told of, and ``mend`` makes all well again.

    Raises IllError where it cannot, and AssertionError when too many have broken off.
    """
    results, broken, whole = wanted.results, 0, wanted.count * len(names)
    while name := wanted.next(names):
        where = f"{results.count(name) + 1}/{wanted.count}"
        began = time.monotonic()
        try:
            with trio.fail_after(TRIAL):
                trials = await one(name)
        except (*LOSSES, trio.TooSlowError) as error:
            broken += 1
            why = str(error).partition("\n")[0] or type(error).__name__
            results.add(Broke(failure=name, why=why))
            log.warning("%s BROKEN %s: %s", where, name, why)
            if broken > 1 + whole // SHARE:
                raise AssertionError(f"{broken} trials did not come to their end") from error
            try:
                await mend()
            except LOSSES as ill:
                raise IllError(str(ill).partition("\n")[0]) from error
            continue
        took = time.monotonic() - began
        results.add(Came(failure=name, trials=trials, seconds=took, load=os.getloadavg()[0]))
        for trial in trials:
            tell(trial, where, took)


def tell(trial: Trial, where: str, took: float) -> None:
    """One line."""
    wrong = [f"; LOST {call.kind}: {call.lost}" for call in trial.calls if call.lost]
    wrong += [
        f"; {call.records} RECORDS of {call.kind}"
        for call in trial.calls
        if call.records not in (None, 1)
    ]
    log.info(
        "%s %s: %.3f s, two holders %.3f s, %d calls, in %.1f s%s",
        *(where, trial.failure, trial.gap, trial.doubled, len(trial.calls), took, "".join(wrong)),
    )


def on_the_vip(wanted: Wanted, names: list[str]) -> None:
    with cluster() as made:
        calls = vip.Calls(made, wanted.logs)
        trio.run(repeat, wanted, names, calls.trial, calls.mend)


def on_media(wanted: Wanted, names: list[str]) -> None:
    with media_fleet() as fleet:

        async def work() -> None:
            await fleet.network.consul_ready()
            fleet.start()
            trials = media.Trials(fleet)
            await repeat(wanted, names, trials.trial, trials.mend)

        trio.run(work)


def on_ivr(wanted: Wanted, names: list[str]) -> None:
    with menus() as made:
        trials = ivr.Trials(made)
        trio.run(repeat, wanted, names, trials.trial, trials.mend)


def on_keepalived(wanted: Wanted, names: list[str]) -> None:
    with vrrp.vrrp() as made:
        trio.run(repeat, wanted, names, made.trial, made.mend)


On = Callable[[Wanted, list[str]], None]
LABS: tuple[tuple[On, tuple[str, ...]], ...] = (
    (on_the_vip, tuple(vip.FAILURES)),
    (on_keepalived, (vrrp.OFF,)),
    (on_media, tuple(media.FAILURES)),
    (on_ivr, tuple(ivr.FAILURES)),
)


def chosen(only: str) -> list[tuple[On, list[str]]]:
    """What is to be failed, by lab. Raises SystemExit where nothing has these words in it."""
    words = only.lower()
    found = [(on, [name for name in names if words in name.lower()]) for on, names in LABS]
    if not any(names for _, names in found):
        known = "\n  ".join(name for _, names in LABS for name in names)
        raise SystemExit(f"chaos: no failure has {only!r} in its name; there are\n  {known}")
    return [(on, names) for on, names in found if names]


def make(wanted: Wanted, labs: list[tuple[On, list[str]]]) -> None:
    """All that is wanted, lab by lab; a lab that is ill is left for a new one."""
    ill = 0
    for on, names in labs:
        while wanted.next(names):
            try:
                on(wanted, names)
            except IllError as error:
                ill += 1
                log.warning("the lab does not get well again: %s", error)
                if ill >= LABS_AT_MOST:
                    raise AssertionError(f"{ill} labs did not get well: {error}") from None


def report(found: Results, *, markdown: bool) -> str:
    """Both tables, what they were measured on, and trials that broke off."""
    table = markdown_table if markdown else text_table
    lines = [table(HEAD, map(cells, rows(found.trials)))]
    if calls := kinds(found.trials):
        lines.append(table(KIND_HEAD, calls))
    if found.came:
        loads = sorted(one.load for one in found.came)
        took = statistics.median(one.seconds for one in found.came)
        lines.append(
            f"{os.cpu_count()} cores, load average {loads[0]:.0f} to {loads[-1]:.0f}, half of the "
            f"time below {statistics.median(loads):.1f}; a trial took {took:.0f} s.\n"
        )
    lines += [f"Broken off: {one.failure}: {one.why}\n" for one in found.broke]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """0; 1 if a call was lost, a record missing or doubled, or a trial broke off."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.chaos")
    parser.add_argument("--trials", type=int, default=30, help="of each failure; default 30")
    parser.add_argument("--only", default="", help="failures with these words in their name")
    parser.add_argument("--results", type=Path, help="file to keep trials in, and to go on from")
    parser.add_argument("--minutes", type=float, help="begin no trial after so many")
    parser.add_argument("--logs", type=Path, help="where to keep logs of the VIP's lost calls")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="calls under load instead")
    parser.add_argument("--seed", type=int, default=None, help="of --soak's chance")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    given = parser.parse_args(arguments)
    if given.trials < 1:
        parser.error("--trials: expected 1 or more")
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    # Whoever ends it from outside wants nothing left either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if given.soak is not None:
        seed = secrets.randbelow(1 << 16) if given.seed is None else given.seed
        with cluster() as made:
            soaked = trio.run(soak.run, made, given.soak * 60, seed)
        sys.stdout.write(soaked.text())
        return int(bool(soaked.wrong()))
    labs = chosen(given.only)
    try:
        found = Results(given.results)
    except (OSError, ValueError) as error:
        parser.error(f"--results: {error}")
    began = time.monotonic()
    until = began + given.minutes * 60 if given.minutes is not None else float("inf")
    before = len(found.came)
    wrong = ""
    try:
        wanted = Wanted(results=found, count=given.trials, until=until, logs=given.logs)
        make(wanted, labs)
    except (KeyboardInterrupt, AssertionError) as error:
        wrong = str(error).partition("\n")[0] or "interrupted"
    if given.markdown:
        given.markdown.write_text(report(found, markdown=True))
    sys.stdout.write(report(found, markdown=False))
    log.info("%d trials in %.0f s", len(found.came) - before, time.monotonic() - began)
    if wrong:
        log.warning("broken off: %s", wrong)
    bad = any(row.lost or row.records for row in rows(found.trials))
    return int(bad or bool(found.broke) or bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
