"""Whether a server takes calls, as its checks come in: pure."""

from __future__ import annotations

import msgspec

FAILURES = 2
"""Checks in a row that must fail: one may be lost to a busy moment."""
PASS_FOR = 3.0
"""Seconds that checks must have passed after a failure before it counts as well again."""
CHECK_EVERY = 1.0
STARTING_EVERY = 0.1


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """``up`` is the judgement. ``passing_since`` is None while the last check failed.

    A server that has just started and passes is up at once: it has failed nobody.
    """

    up: bool = False
    failures: int = 0
    passing_since: float | None = None
    went_down: bool = False

    def after(self, passed: bool, now: float) -> Availability:
        """The judgement after one more check; ``now`` in seconds, of any clock that is steady."""
        if not passed:
            failures = self.failures + 1
            down = failures >= FAILURES or not self.up
            return Availability(
                up=not down, failures=failures, went_down=self.went_down or (self.up and down)
            )
        since = now if self.passing_since is None else self.passing_since
        up = self.up or not self.went_down or now - since >= PASS_FOR
        return Availability(up=up, passing_since=since, went_down=self.went_down)

    def check_after(self, passed: bool) -> float:
        """Seconds from the start of this check to the next.

        A failure that may take the server out is looked at again at once; a server that has never
        been up is waited for.
        """
        if not passed and self.up:
            return 0.0
        return CHECK_EVERY if self.up or self.went_down else STARTING_EVERY

    def waits(self, now: float) -> float:
        """Seconds of passing that are still wanted; 0 if none."""
        if self.up or self.passing_since is None:
            return 0.0
        return max(0.0, PASS_FOR - (now - self.passing_since))
