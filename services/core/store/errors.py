"""StoreError ├─ StoreAwayError ├─ SealError └─ OwnedBySpecError"""

from __future__ import annotations

from collections.abc import Sequence


class StoreError(Exception):
    """The database refused; the message says what, without the values of a statement."""


class StoreAwayError(StoreError):
    """The database cannot be reached or is locked for too long; later it may be back."""


class OwnedBySpecError(StoreError):
    """Users of the spec are changed in the spec alone. ``extensions`` are some of those meant."""

    def __init__(self, tenant: str, extensions: Sequence[str]) -> None:
        who = ", ".join(extensions)
        belong = "belongs" if len(extensions) == 1 else "belong"
        super().__init__(
            f"{tenant} {who} {belong} to the spec: change it there and run pbxctl apply; "
            "nothing was changed"
        )
        self.extensions = tuple(extensions)
