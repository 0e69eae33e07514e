"""What somebody changed in a job behind pbxctl's back, from Nomad's own diff: pure."""

from __future__ import annotations

from collections.abc import Iterator

from pbxctl.engines.nomad.wire import Part, PlanAnswer

SHOWN = 2
"""Fields that a line of the plan names."""
CHANGED = "changed outside pbxctl"


def drift(answer: PlanAnswer) -> str:
    """What registering the job again would set back, in words; empty if nothing differs."""
    diff = answer.diff
    if diff is None or diff.type == "None":
        return ""
    # Old is what is there now, and new what would be registered.
    found = [f"{path} {new or 'none'} → {old or 'none'}" for path, old, new in fields(diff)]
    if not found:
        return CHANGED
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{CHANGED}: {', '.join(found[:SHOWN])}{more}"


def restarts(answer: PlanAnswer) -> bool:
    """Whether setting it back stops what runs."""
    desired = (answer.annotations.desired if answer.annotations else None) or {}
    return any(each.destructive_update or each.stop for each in desired.values())


def fields(part: Part, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, old and new value of every field that differs."""
    for field in part.fields or ():
        if field.type != "None":
            yield f"{path}{_step(field.name)}", field.old, field.new
    for below in [*(part.objects or ()), *(part.task_groups or ()), *(part.tasks or ())]:
        if below.type != "None":
            yield from fields(below, f"{path}{_step(below.name)}.")


def _step(name: str) -> str:
    return name.replace("[", ".").replace("]", "")
