"""A plan for people to read."""

from __future__ import annotations

from pbxctl.plan.value import Action, Change, Plan

SIGNS: dict[Action, str] = {"add": "+", "change": "~", "remove": "-"}
WIDEST = 48
"""Effects are lined up behind texts up to this width; a longer one pushes only its own out."""


def render(plan: Plan, advice: str = "") -> str:
    """The plan, one change a line, and a summary; ``advice`` ends the last line."""
    if plan.empty:
        return f"{plan.cluster}: nothing to change\n"
    total = f"{totals(plan)} · {advice}" if advice else totals(plan)
    return "\n".join([*(line for _, line in lines(plan)), total]) + "\n"


def lines(plan: Plan) -> list[tuple[Change, str]]:
    """One line a change: sign, what, how, and what calls will notice; columns aligned."""
    subject = max((len(change.subject) for change in plan.changes), default=0)
    fitting = (len(change.text) for change in plan.changes if len(change.text) <= WIDEST)
    text = max(fitting, default=0)
    return [(change, _line(change, subject, text)) for change in plan.changes]


def _line(change: Change, subject: int, text: int) -> str:
    line = f"  {SIGNS[change.action]} {change.subject:<{subject}}  {change.text:<{text}}"
    # What runs may have been written by anybody: nothing of it steers a terminal.
    return "".join(c if c.isprintable() else "?" for c in f"{line}  {change.effect}").rstrip()


def totals(plan: Plan) -> str:
    """``1 to add, 2 to change, 1 to remove``."""
    add, change, remove = (plan.count(action) for action in SIGNS)
    return f"{add} to add, {change} to change, {remove} to remove"
