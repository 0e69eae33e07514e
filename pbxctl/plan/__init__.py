"""What apply would do, as a value: computed, printed, saved, applied.

It holds no secret and no HA1, and says what it was computed from, so that a saved one is refused
when either has changed since.
"""

from pbxctl.plan.make import EMPTY_DIGESTS, gave_up, make_plan
from pbxctl.plan.text import lines, render, totals
from pbxctl.plan.value import (
    Action,
    Change,
    Plan,
    PlanError,
    Running,
    read,
    refuse_stale,
    save,
    secret_fingerprint,
    secret_fingerprints,
)

__all__ = [
    "EMPTY_DIGESTS",
    "Action",
    "Change",
    "Plan",
    "PlanError",
    "Running",
    "gave_up",
    "lines",
    "make_plan",
    "read",
    "refuse_stale",
    "render",
    "save",
    "secret_fingerprint",
    "secret_fingerprints",
    "totals",
]
