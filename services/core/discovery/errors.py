"""RegistryError ├─ RegistryUnreachableError └─ RegistryRefusedError"""

from __future__ import annotations


class RegistryError(Exception):
    """The registry did not do what was asked; the message says what and why."""


class RegistryUnreachableError(RegistryError):
    """No answer within the deadline, retries included. Whether a write was done is unknown."""


class RegistryRefusedError(RegistryError):
    """The registry answered with an error; ``status`` is HTTP's, ``reason`` its own words."""

    def __init__(self, request: str, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"registry: {request}: {status}: {reason or 'no reason given'}")
