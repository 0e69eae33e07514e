"""A plan as an operator reads it."""

from __future__ import annotations

from rich.text import Text

from pbxctl.commands.output import STATE_STYLES, Output
from pbxctl.plan import Plan, lines, totals


def show(out: Output, plan: Plan, advice: str = "") -> None:
    """Prints the plan; ``advice`` goes on the last line."""
    if plan.empty:
        out.line(f"{plan.cluster}: nothing to change")
        return
    for change, text in lines(plan):
        out.out.print(Text(text, style=STATE_STYLES[change.action]), soft_wrap=True)
    out.line(totals(plan) + (f" · {advice}" if advice else ""))
