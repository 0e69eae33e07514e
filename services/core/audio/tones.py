"""Tones by country, as samples. Source: ITU-T E.180 and its supplement 2."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
RATE = 8000
LEVEL = 6000
"""Amplitude of each frequency: about -15 dBm0, below what sounds harsh beside speech."""
RAMP = 0.005
"""Seconds of fading in and out, against clicks."""
CONTINUOUS = 2.0
"""Seconds that are made of a tone without pauses; all frequencies come out even."""

Tone: TypeAlias = Literal["dial", "ringback", "busy", "congestion"]
TONES: tuple[Tone, ...] = get_args(Tone)


class Cadence(msgspec.Struct, frozen=True):
    """``frequencies`` in Hz sound together; ``pattern``: seconds on, off, on, off …, or none."""

    frequencies: tuple[float, ...]
    pattern: tuple[float, ...] = ()


class Country(msgspec.Struct, frozen=True):
    """The tones of a country."""

    dial: Cadence
    ringback: Cadence
    busy: Cadence
    congestion: Cadence


def _with_one_frequency(
    frequency: float,
    ringback: tuple[float, ...],
    busy: tuple[float, ...],
    congestion: tuple[float, ...],
    dial: tuple[float, ...] = (),
) -> Country:
    patterns = (dial, ringback, busy, congestion)
    return Country(*(Cadence((frequency,), pattern) for pattern in patterns))


COUNTRIES = {
    "at": _with_one_frequency(425, (1.0, 5.0), (0.4, 0.4), (0.2, 0.2)),
    "au": Country(
        dial=Cadence((413, 438)),
        ringback=Cadence((413, 438), (0.4, 0.2, 0.4, 2.0)),
        busy=Cadence((425,), (0.375, 0.375)),
        congestion=Cadence((425,), (0.375, 0.375)),
    ),
    "ch": _with_one_frequency(425, (1.0, 4.0), (0.5, 0.5), (0.2, 0.2)),
    "de": _with_one_frequency(425, (1.0, 4.0), (0.48, 0.48), (0.24, 0.24)),
    "es": _with_one_frequency(425, (1.5, 3.0), (0.2, 0.2), (0.2, 0.2, 0.2, 0.2, 0.2, 0.6)),
    "fr": _with_one_frequency(440, (1.5, 3.5), (0.5, 0.5), (0.25, 0.25)),
    "gb": Country(
        dial=Cadence((350, 440)),
        ringback=Cadence((400, 450), (0.4, 0.2, 0.4, 2.0)),
        busy=Cadence((400,), (0.375, 0.375)),
        congestion=Cadence((400,), (0.4, 0.35, 0.225, 0.525)),
    ),
    "it": _with_one_frequency(425, (1.0, 4.0), (0.5, 0.5), (0.2, 0.2), (0.2, 0.2, 0.6, 1.0)),
    "nl": _with_one_frequency(425, (1.0, 4.0), (0.5, 0.5), (0.25, 0.25)),
    "pl": _with_one_frequency(425, (1.0, 4.0), (0.5, 0.5), (0.5, 0.5)),
    "se": _with_one_frequency(425, (1.0, 5.0), (0.25, 0.25), (0.25, 0.75)),
    "us": Country(
        dial=Cadence((350, 440)),
        ringback=Cadence((440, 480), (2.0, 4.0)),
        busy=Cadence((480, 620), (0.5, 0.5)),
        congestion=Cadence((480, 620), (0.25, 0.25)),
    ),
}
DEFAULT = "de"
"""Its tones are those that E.180 recommends."""
SPECIAL_INFORMATION = (950.0, 1400.0, 1800.0)
"""Hz, a third of a second each (ITU-T E.180 section 9)."""
BEEP = 1000.0
"""Hz, of the tone after which a message is recorded."""
LANGUAGES = {"en": "us", "sv": "se", "da": "de", "cs": "de"}
"""Countries that are not named as their language is."""


def country(language: str) -> str:
    """The country whose tones to play to a speaker of ``language`` (``de``, ``en-GB``)."""
    primary, _, region = language.lower().replace("_", "-").partition("-")
    named = primary if primary in COUNTRIES else DEFAULT
    return region if region in COUNTRIES else LANGUAGES.get(primary, named)


def beep(
    frequencies: tuple[float, ...] = (BEEP,), seconds: float = 0.3, rate: int = RATE
) -> Samples:
    """Some frequencies together, for a while."""
    sound = _sines(frequencies, seconds, rate)
    ramp = min(round(RAMP * rate), len(sound) // 2)
    if ramp:
        slope = np.linspace(0, 1, ramp)
        sound[:ramp] *= slope
        sound[-ramp:] *= slope[::-1]
    return sound.astype(np.int16)


def _sines(frequencies: tuple[float, ...], seconds: float, rate: int) -> NDArray[np.float64]:
    time = np.arange(round(seconds * rate)) / rate
    waves = np.sin(2 * np.pi * np.outer(np.array(frequencies), time))
    return waves.sum(axis=0) * LEVEL


def once(cadence: Cadence, rate: int = RATE) -> Samples:
    """One round of a cadence, to be played over and over."""
    if not cadence.pattern:
        return _sines(cadence.frequencies, CONTINUOUS, rate).astype(np.int16)
    parts: list[Samples] = []
    for on, off in zip(cadence.pattern[::2], cadence.pattern[1::2], strict=True):
        parts += [beep(cadence.frequencies, on, rate), np.zeros(round(off * rate), np.int16)]
    return np.concatenate(parts)


def tone(kind: Tone, where: str, rate: int = RATE) -> Samples:
    """One round of a country's tone; of `DEFAULT` where the country is not known.

    Raises ValueError for a kind that there is not.
    """
    if kind not in TONES:
        raise ValueError(f"tone {kind}: expected one of {', '.join(TONES)}")
    return once(getattr(COUNTRIES.get(where, COUNTRIES[DEFAULT]), kind), rate)


def special_information(rate: int = RATE) -> Samples:
    """Three rising tones: what follows is an announcement, and the call has failed."""
    return np.concatenate([beep((f,), 0.33, rate) for f in SPECIAL_INFORMATION])
