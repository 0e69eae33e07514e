"""Known audio, and a judge of what came out of the far end.

A voice is an endless sequence of tones, `TONE` seconds each, in which every pair of neighbours
occurs once a period: any 80 ms of it say where in the sequence they are. So what was heard needs no
marker to be lined up, a jitter buffer that skips or repeats does not spoil the rest, and a loss of
any length is seen at its place. Tones are multiples of 100 Hz, whole cycles each, between 400 and
3300 Hz: within what the narrowest telephone codec carries. Voices share no tone, so that two of
them can be told apart in a mix, and one's echo is never taken for the other.

Samples are float32 in -1..1, one channel. Times are seconds, gaps milliseconds, levels dBFS.
"""

from __future__ import annotations

import functools
import wave
from pathlib import Path

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Booleans = NDArray[np.bool_]
Integers = NDArray[np.int_]
Floats = NDArray[np.float64]

VOICES = 3
TONES = 10
TONE = 0.040
LOWEST = 400
STEP = 100
PERIOD = TONES * (TONES - 1) * TONE
"""Seconds after which a voice repeats: delays are known modulo this."""

HOP = 0.005
WINDOW = 0.030
"""Longer than the 22 ms at which two tones 100 Hz apart are told from each other."""
CONTEXT = 0.120
"""What is taken for the voice has three tones in the right order."""
AGREE = 0.7
EDGE = 8.0
"""Decibels below its surroundings at which a frame is taken for the edge of a gap."""
FLOOR = -60.0
"""Below this level, dBFS, a frame is silent."""
PURE = 0.05
"""The least share of a frame's energy that a tone has to have to be heard."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a voice within the span that was judged.

    ``likeness`` is 0 for something else or silence, and 1 for the voice itself: the share of the
    energy that is the right tone, averaged over the span. ``coverage`` is the share of the span
    in which the voice was heard at all, whatever else was there. ``first`` is when, from the start
    of the samples. ``offset`` is the time from the start of the samples to the voice's own start,
    modulo `PERIOD`; with both clocks known it gives the delay. ``longest_gap`` and ``gaps`` (how
    many are over 40 ms) are exact to about 20 ms. ``slips`` counts moves of the voice against the
    clock by more than 20 ms, as a jitter buffer makes them.
    """

    likeness: float
    coverage: float
    longest_gap: float
    gaps: int
    slips: int
    level: float
    duration: float
    first: float | None = None
    offset: float | None = None


def frequencies(voice: int) -> NDArray[np.float64]:
    """The tones of a voice in Hz."""
    if not 0 <= voice < VOICES:
        raise ValueError(f"voice {voice}: there are voices 0 to {VOICES - 1}")
    return LOWEST + STEP * (np.arange(TONES) * VOICES + voice).astype(np.float64)


def sequence() -> Integers:
    """The tones of one period, by index: every pair of different ones once (an Euler tour)."""
    unused = {a: [b for b in range(TONES - 1, -1, -1) if b != a] for a in range(TONES)}
    path, tour = [0], list[int]()
    while path:  # Hierholzer's algorithm
        here = path[-1]
        if unused[here]:
            path.append(unused[here].pop())
        else:
            tour.append(path.pop())
    return np.array(tour[:-1])


def speak(voice: int, rate: int, *, seconds: float = PERIOD, level: float = -12.0) -> Samples:
    """``seconds`` of a voice. A whole number of periods can be played in a loop without a click."""
    tones = frequencies(voice)[sequence()]
    time = np.arange(round(seconds * rate)) / rate
    # Every tone has whole cycles, so each can start at phase 0 of the common clock.
    playing = tones[(time / TONE + 1e-9).astype(np.int_) % len(tones)]
    amplitude = 10 ** (level / 20)
    return (amplitude * np.sin(2 * np.pi * playing * time)).astype(np.float32)


def judge(
    samples: Samples,
    rate: int,
    voice: int,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Heard:
    """How ``voice`` was heard in ``samples`` from ``start`` (by default where it is first heard)
    to ``end`` (by default the end of the samples)."""
    tones, share, level = _tones(samples, rate, frequencies(voice))
    if not len(tones):
        return _nothing(0.0)
    right, offset = _line_up(tones)
    frames = len(right)
    # The voice itself is less pure where a window spans two tones; so this is relative to it.
    ideal = _ideal(rate, voice)[(np.arange(frames) - offset) % _positions()]
    purity = np.minimum(share / ideal, 1.0)
    # A window's middle is where a gap begins if half of it is silent, or of another tone: 6 dB
    # down, and some more for a step of time, in which tones are known.
    around = np.pad(
        np.where(right, level, -np.inf), round(CONTEXT / HOP / 2), constant_values=-np.inf
    )
    quiet = level <= sliding_window_view(around, round(CONTEXT / HOP) + 1).max(axis=1) - EDGE
    # One or two frames are noise, not a gap.
    right &= ~_sustained(quiet, 3)
    middle = WINDOW / 2
    heard = np.flatnonzero(right)
    first = float(heard[0] * HOP + middle) if len(heard) else None
    if start is None:
        begin = int(heard[0]) if len(heard) else 0
    else:
        begin = min(max(round((start - middle) / HOP), 0), frames)
    stop = frames if end is None else min(max(round((end - middle) / HOP), begin), frames)
    span = right[begin:stop]
    duration = len(span) * HOP
    if not span.any():
        return _nothing(duration)
    lengths = _runs(~span) * HOP * 1000
    powers = 10 ** (level[begin:stop][span & (ideal[begin:stop] > 0.9)] / 10)
    return Heard(
        likeness=float(np.mean(np.where(span, purity[begin:stop], 0.0))),
        coverage=float(span.mean()),
        longest_gap=float(lengths.max(initial=0.0)),
        gaps=int((lengths > 40).sum()),
        slips=_slips(offset[begin:stop][span]),
        level=float(10 * np.log10(powers.mean())) if len(powers) else -120.0,
        duration=duration,
        first=first,
        offset=float(np.bincount(offset[begin:stop][span]).argmax() * HOP),
    )


def loudness(samples: Samples) -> float:
    """Level of the whole, dBFS of a full-scale sine; -120 for silence."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) * 2 if len(samples) else 0.0
    return 10 * float(np.log10(max(power, 1e-12)))


def read_wav(path: Path) -> tuple[list[Samples], int]:
    """The channels of a 16-bit PCM WAV, and its rate.

    Raises ValueError if it is not one; a file that its writer has not closed has no samples.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ValueError(f"{path}: {file.getsampwidth() * 8} bits a sample, expected 16")
            channels, rate = file.getnchannels(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path}: not a WAV file: {error}") from None
    whole = len(content) // (2 * channels) * 2 * channels
    rows = np.frombuffer(content[:whole], "<i2").astype(np.float32).reshape(-1, channels)
    return [rows[:, n] / np.float32(32768) for n in range(channels)], rate


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """One channel, 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def _positions() -> int:
    return round(PERIOD / HOP)


def _tones(samples: Samples, rate: int, tones: Floats) -> tuple[Integers, Floats, Floats]:
    """Of each frame: the loudest of ``tones`` or -1, its share of the energy, the level in dBFS."""
    width, hop = round(WINDOW * rate), round(HOP * rate)
    if abs(hop - HOP * rate) > 1e-6:
        raise ValueError(f"sampling rate {rate}: {HOP * 1000:g} ms are not whole samples")
    if len(samples) < width:
        empty = np.zeros(0)
        return empty.astype(np.int_), empty, empty
    frames = sliding_window_view(samples, width)[::hop]
    window = np.hanning(width).astype(np.float32)
    time = np.arange(width) / rate
    kernel = (window[:, None] * np.exp(-2j * np.pi * time[:, None] * tones)).astype(np.complex64)
    # A sine of amplitude a has a² · sum(w)² / 4 here, and a² · sum(w²) / 2 of energy.
    power = np.square(np.abs(frames @ kernel)).astype(np.float64) * 4 / float(window.sum()) ** 2
    squares = np.square(frames) @ np.square(window)
    energy = np.maximum(squares.astype(np.float64) * 2 / float(np.square(window).sum()), 1e-12)
    best = power.argmax(axis=1)
    share = np.minimum(power.max(axis=1) / energy, 1.0)
    level = 10 * np.log10(np.maximum(power.max(axis=1), 1e-12))
    return np.where((level > FLOOR) & (share > PURE), best, -1), share, level


@functools.lru_cache
def _ideal(rate: int, voice: int) -> Floats:
    """The share of a frame's energy that is one tone, at each position of the voice, or a hop
    before or after: positions are known to a hop."""
    positions = _positions()
    clean = speak(voice, rate, seconds=PERIOD + 2 * WINDOW)
    share = _tones(clean, rate, frequencies(voice))[1][:positions]
    return np.minimum(share, np.minimum(np.roll(share, 1), np.roll(share, -1)))


def _line_up(tones: Integers) -> tuple[Booleans, Integers]:
    """Of each frame: whether it belongs to the voice, and the voice's offset then, in hops."""
    period, per_tone = _positions(), round(TONE / HOP)
    wanted = sequence()
    allowed = np.zeros((period, TONES), np.bool_)
    # A frame's tone is its middle's; the earlier one where the middle is between two.
    half = round(WINDOW / HOP / 2)
    middle = np.arange(period) + half - 1
    strict = wanted[middle % period // per_tone]
    # Where a frame's window spans two tones, either may be the louder.
    for shift in range(-half, half + 1):
        allowed[np.arange(period), wanted[(middle + shift) % period // per_tone]] = True

    context = round(CONTEXT / HOP)
    right = np.zeros(len(tones), np.bool_)
    chosen = np.zeros(len(tones), np.int_)
    block = 2000
    for begin in range(0, len(tones), block - context):
        part = tones[begin : begin + block]
        if len(part) < context:
            break
        # Row o: does each frame agree with the voice if it began o hops after the samples?
        index = (np.arange(len(part))[None, :] + begin - np.arange(period)[:, None]) % period
        exact = (strict[index] == part) & (part >= 0)
        sums = np.cumsum(np.pad(exact, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
        scores = sums[:, context:] - sums[:, :-context]
        offsets = scores.argmax(axis=0)
        for at in np.flatnonzero(scores.max(axis=0) >= AGREE * context):
            offset = int(offsets[at])
            stretch = slice(at, at + context)
            fits = allowed[index[offset, stretch], part[stretch]] & (part[stretch] >= 0)
            whole = slice(begin + at, begin + at + context)
            new = fits & ~right[whole]
            chosen[whole][new] = offset
            right[whole] |= fits
    return right, chosen


def _nothing(duration: float) -> Heard:
    return Heard(
        likeness=0.0,
        coverage=0.0,
        longest_gap=duration * 1000,
        gaps=int(duration > 0.04),
        slips=0,
        level=-120.0,
        duration=duration,
    )


def _slips(offsets: Integers) -> int:
    """How often the offset moves by more than 20 ms; about a move both may be found for a while."""
    width = round(CONTEXT / HOP) + 1
    if len(offsets) < width:
        return 0
    moves = np.abs(np.diff(np.median(sliding_window_view(offsets, width), axis=1)))
    return int((np.minimum(moves, _positions() - moves) * HOP > 0.02).sum())


def _sustained(flags: Booleans, least: int) -> Booleans:
    """``flags`` without its runs that are shorter than ``least``."""
    if len(flags) < least:
        return np.zeros_like(flags)
    whole = sliding_window_view(flags, least).all(axis=1)
    return np.convolve(whole, np.ones(least, np.int_)) > 0


def _runs(flags: Booleans) -> Integers:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return edges[1::2] - edges[::2]
