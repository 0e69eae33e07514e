"""After an apply that did not finish: what is in force, and what is not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pbxctl.deployment import Deployment
from pbxctl.health import CALL_MANAGER
from pbxctl.plan import Change, Plan


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Both in words for people.

    ``known`` is False if nobody could be asked: then these are the steps that this apply had done,
    and what it was doing when it ended, which may have been done or not; ``why`` says who is away.
    """

    in_force: tuple[str, ...]
    not_in_force: tuple[str, ...]
    known: bool = True
    why: str = ""

    def lines(self) -> tuple[str, ...]:
        """For people, one thing a line."""
        if not self.known:
            what = self.why or "the engine or the registry does not answer"
            return (
                f"what is in force cannot be said: {what}; what runs goes on",
                *(("this apply had done:",) if self.in_force else ()),
                *(f"  {each}" for each in self.in_force),
                *(("not known to be done:",) if self.not_in_force else ()),
                *(f"  {each}" for each in self.not_in_force),
            )
        return (
            "in force:",
            *(f"  {each}" for each in self.in_force or ("nothing of this plan",)),
            "not in force:",
            *(f"  {each}" for each in self.not_in_force or ("nothing: all of it is",)),
        )


UNKNOWN = Standing(in_force=(), not_in_force=(), known=False)


def unknown(done: tuple[str, ...], doing: str, why: str) -> Standing:
    """Where only this apply's own steps can be told."""
    return Standing(in_force=done, not_in_force=(doing,) if doing else (), known=False, why=why)


def standing(
    deployment: Deployment, plan: Plan, left: Plan, waiting: Mapping[str, str]
) -> Standing:
    """``plan`` is what was to be done, ``left`` what is still to do, ``waiting`` who lacks what.

    ``waiting`` is by id of the deployment's jobs. A server of which a job is started but not
    healthy is not in force, nor is configuration that a Call Manager has not taken, whatever the
    plan says.
    """
    jobs = {job.id: job for job in deployment.jobs}
    ill = {jobs[each].server for each in waiting}
    late = {jobs[each].role for each in waiting}
    untaken = any(jobs[each].role == CALL_MANAGER for each in waiting)
    servers = {job.server for job in deployment.jobs} | {job.role for job in deployment.jobs}
    undone = {change.subject for change in left.changes}
    in_force: list[str] = []
    written: list[str] = []
    for change in plan.changes:
        if change.subject in undone | ill:
            continue
        if change.subject in late:
            written.append(f"{_words(change)} (begun)")
            continue
        live = change.subject not in servers and change.action != "remove"
        if live and untaken:
            written.append(f"{_words(change)} (written, not yet in force)")
        else:
            in_force.append(_words(change))
    not_in_force = [_words(change) for change in left.changes]
    for job, what in sorted(waiting.items()):
        role = f"{jobs[job].role} on {jobs[job].server}"
        not_in_force.append(f"{role}: started, but {what}; see pbxctl logs {jobs[job].server}")
    return Standing(in_force=tuple(in_force), not_in_force=(*not_in_force, *written))


def _words(change: Change) -> str:
    return f"{change.subject}: {change.text}"
