"""In which order changed jobs are replaced, and what must stand meanwhile: pure.

Media servers first, then application servers, then the managers' servers one by one, the holder of
the VIP last: by then the others run the new release, and the VIP is handed over to one of them
before its server's jobs are touched. Database and live state follow the VIP, so one hand-over moves
all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pbxctl.deployment import Job
from pbxctl.registry_client import Service
from pbxctl.switching import MEDIA

ORDER = ("live", "database", "call-manager")
"""Of one server's jobs: what is below is replaced first."""
VOTING = ("call-manager", "database")
"""Roles that work with a majority only."""


def next_job(remaining: Sequence[Job], holder: str) -> Job:
    """The one to replace now; ``holder`` is the server that has the VIP, empty if none has.

    ``remaining`` is not empty.
    """

    def rank(job: Job) -> tuple[int, bool, str, int]:
        manages = job.role in ORDER
        step = ORDER.index(job.role) if manages else 0
        turn = 2 if manages else int(job.role != MEDIA)
        return turn, manages and job.server == holder, job.server, step

    return min(remaining, key=rank)


def first_start(jobs: Sequence[Job]) -> list[Job]:
    """New jobs in the order in which they can begin their work: what others wait for first."""
    order = ("database", "live", "media", "call-manager", "ivr")

    def rank(job: Job) -> int:
        return order.index(job.role) if job.role in order else len(order)

    return sorted(jobs, key=rank)


def must_hand_over(job: Job, holder: str, jobs: Sequence[Job]) -> bool:
    """Whether the VIP goes to another manager before this job is replaced, if there is another."""
    managers = {each.server for each in jobs if each.role == "call-manager"}
    return job.role in ORDER and job.server == holder and len(managers) > 1


def worth_waiting(server: str, views: Sequence[Mapping[str, str]]) -> bool:
    """Whether new calls would find no media server without this one, and another may come back.

    ``views`` are the states of media servers by name as each Call Manager has them; what the
    registry says reaches them a little later, and a server that is back counts after a while only.
    """
    found = [{state for name, state in view.items() if name != server} for view in views]
    return any("up" not in others and "down" in others for others in found)


def in_the_way(job: Job, jobs: Sequence[Job], services: Sequence[Service]) -> str:
    """What else is down that the role could not bear to lose this server beside, empty if nothing.

    ``jobs`` are all that should run, ``services`` what is registered. Of a role with one server
    nothing can be asked.
    """
    if job.role not in VOTING:
        return ""
    passing = {each.id for each in services if each.status == "passing"}
    own = [each for each in jobs if each.role == job.role]
    left = [each for each in own if each.id != job.id and each.id in passing]
    if len(own) < 3 or len(left) > len(own) // 2:
        return ""
    down = sorted(each.server for each in own if each.id != job.id and each.id not in passing)
    verb = "is" if len(down) == 1 else "are"
    return (
        f"{job.role} on {' and '.join(down)} {verb} not well, and without {job.server} too there "
        "would be no majority"
    )
