"""What a leg tells of."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Digit(msgspec.Struct, frozen=True):
    """A key was pressed: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``.

    ``time``: when its first sign came, by `time.monotonic`. ``in_band``: heard as a tone.
    """

    digit: str
    time: float
    in_band: bool = False


class Unheard(msgspec.Struct, frozen=True):
    """Nothing has come from the other side for ``seconds``: no sound, and no telephone event."""

    seconds: float


class HeardAgain(msgspec.Struct, frozen=True):
    """After `Unheard`, something came."""


class Speech(msgspec.Struct, frozen=True):
    """The other side began to speak, or has stopped; where speech is watched for."""

    speaking: bool
    time: float


LegEvent: TypeAlias = Digit | Unheard | HeardAgain | Speech
