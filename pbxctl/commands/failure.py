"""What ends a command: a message for the operator and an exit status."""

from __future__ import annotations

OK = 0
ERROR = 1
CHANGES = 2
"""``plan --detailed-exitcode`` and there is something to do."""
USAGE = 2
"""The command line itself is wrong (click's convention)."""
INTERNAL = 70
"""A defect of the program (sysexits.h EX_SOFTWARE); details are in a file."""
INTERRUPTED = 130
TERMINATED = 143


class CommandError(Exception):
    """``message`` in one line; ``details`` are printed below it, one a line.

    ``facts`` join the JSON form of the error.
    """

    def __init__(
        self,
        message: str,
        *,
        details: tuple[str, ...] = (),
        exit_code: int = ERROR,
        facts: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.exit_code = exit_code
        self.facts = facts or {}
