"""What a role says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["passing", "warning", "critical"]


@dataclass(frozen=True)
class Health:
    """Whether a role does its job, in the registry's words.

    ``output`` is the check's figure for people (``SIP OPTIONS 2 ms``), ``problems`` what else is
    wrong while the job still gets done.
    """

    status: Status
    output: str
    problems: list[str] = field(default_factory=list[str])
