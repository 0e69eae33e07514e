"""Keys as tones, speech, loudness, concealment, resampling."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core.audio import g711
from services.core.audio.engine.concealment import Concealment, pitch
from services.core.audio.engine.dtmf import HIGH, KEYS, LOW, Detector
from services.core.audio.engine.loudness import Speech, levels
from services.core.audio.engine.resampling import Doubler, Halver

Floats = NDArray[np.float64]
RATE = 8000


def wave(frequency: float, seconds: float, amplitude: float = 8000, rate: int = RATE) -> Floats:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def key(name: str, seconds: float, *, off: float = 1.0, twist: float = 1.0) -> Floats:
    row, column = divmod(KEYS.index(name), 4)
    return wave(LOW[row] * off, seconds) + twist * wave(HIGH[column] * off, seconds)


def detect(sound: Floats, shift: int = 0) -> str:
    """What one leg's detector hears, the sound through G.711 and ``shift`` samples into a frame."""
    padded = np.concatenate([np.zeros(shift), sound, np.zeros(2000)])
    samples = np.clip(padded, -32768, 32767).astype(np.int16)
    samples = g711.decode(g711.encode(samples, "PCMU"), "PCMU")
    detector = Detector(5, RATE)
    found = ""
    for at in range(0, len(samples) - 159, 160):
        frame = samples[at : at + 160].astype(np.float32)[None]
        found += "".join(k for _, k in detector.feed(np.array([3]), frame))
    return found


@pytest.mark.parametrize("shift", [0, 37, 80, 120, 159])
@pytest.mark.parametrize(("held", "pause"), [(0.05, 0.05), (0.1, 0.1), (0.5, 0.06)])
def test_all_keys_are_heard_once(shift: int, held: float, pause: float) -> None:
    silence = np.zeros(round(pause * RATE))
    sound = np.concatenate([x for name in KEYS for x in (key(name, held), silence)])
    assert detect(sound, shift) == KEYS


@pytest.mark.parametrize("off", [0.985, 1.015])
@pytest.mark.parametrize("twist", [0.45, 1.0, 2.0])
def test_within_the_tolerance_of_q24(off: float, twist: float) -> None:
    for name in KEYS:
        assert detect(key(name, 0.1, off=off, twist=twist)) == name


def test_voices_and_music_press_no_keys() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 4000, RATE * 10)
    chord = sum(wave(f, 3, 5000) for f in (523, 659, 784))
    vowel = np.concatenate(
        [
            sum(wave(f0 * n, 0.3, 6000 / n) for n in range(1, 25) if f0 * n < 3800)
            for f0 in range(90, 260, 3)
        ]
    )
    single = np.concatenate([wave(f, 0.2) for f in (*LOW, *HIGH, 425, 1004)])
    for sound in (noise, chord, vowel, single):
        assert detect(np.asarray(sound)) == ""


def test_a_key_that_breaks_off_for_a_moment_is_one() -> None:
    sound = key("5", 0.2)
    sound[800:900] = 0
    assert detect(sound) == "5"


def test_levels_are_in_dbov() -> None:
    full = np.full((1, 160), 32767, np.float32)
    frames = np.concatenate([full, full / 10, full * 0, wave(1000, 0.02, 32767)[None]])
    found = levels(frames.astype(np.float32))
    assert found == pytest.approx([0, -20, -127, -3.01], abs=0.05)


def test_speech_begins_and_ends_once() -> None:
    rng = np.random.default_rng(2)
    speech = Speech(2)
    turns: list[int] = []
    for frame in range(300):
        speaking = 100 <= frame < 200 and frame % 20 < 14  # words with pauses between
        sound = rng.normal(0, 3000 if speaking else 20, (1, 160)).astype(np.float32)
        if len(speech.feed(np.array([1]), levels(sound))):
            turns.append(frame)
    assert len(turns) == 2
    assert 100 <= turns[0] <= 103
    assert 205 <= turns[1] <= 225


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("frequency", [80.0, 123.0, 190.0])
def test_pitch(frequency: float, rate: int) -> None:
    t = np.arange(3 * rate // 50) / rate
    sound = sum(np.sin(2 * np.pi * frequency * n * t) / n for n in range(1, 8)) * 6000
    (found,) = pitch(np.asarray(sound).astype(np.int16)[None], rate)
    assert found == pytest.approx(rate / frequency, abs=2 * rate / 8000)


def test_a_lost_frame_is_hardly_heard_and_a_long_loss_is_silence() -> None:
    concealment = Concealment(2, RATE)
    t = np.arange(RATE) / RATE
    said = sum(np.sin(2 * np.pi * 120 * n * t) / n for n in range(1, 12)) * 6000
    frames = np.asarray(said).astype(np.int16).reshape(-1, 160)
    heard = []
    for number, frame in enumerate(frames):
        lost = number == 10 or 20 <= number < 30
        sound = (frame * (not lost))[None].astype(np.int16)
        made = concealment.apply(np.array([1]), sound, np.array([not lost]))
        assert made == (lost and number < 23)
        heard.append(sound[0])
    error = heard[10].astype(float) - frames[10]
    assert (error**2).mean() < 0.3 * (frames[10].astype(float) ** 2).mean()
    assert np.abs(heard[20]).max() > 1000
    assert not np.concatenate(heard[23:30]).any()
    np.testing.assert_array_equal(heard[31], frames[31])


@pytest.mark.parametrize("frequency", [300.0, 1000.0, 3300.0])
def test_up_and_down_again(frequency: float) -> None:
    doubler, halver = Doubler(3), Halver(3)
    rows = np.array([2])
    said = wave(frequency, 0.4).astype(np.int16)
    wide = [doubler(rows, f[None])[0] for f in said.reshape(-1, 160)]
    narrow = np.concatenate([halver(rows, f[None])[0] for f in wide])
    upper = np.concatenate(wide)[800:5600].astype(float)
    spectrum = np.abs(np.fft.rfft(upper * np.hanning(len(upper)))) ** 2
    there = np.arange(len(spectrum)) * 16000 / len(upper)
    assert spectrum[np.abs(there - frequency) < 60].sum() / spectrum.sum() > 0.999
    best = min(
        np.abs(narrow[400 + d : 2400 + d].astype(int) - said[400:2400]).max() for d in range(64)
    )
    assert best < 250


def test_what_is_too_high_is_gone_and_does_not_come_back_lower() -> None:
    halver = Halver(1)
    said = wave(6000, 0.2, rate=16000).astype(np.int16).reshape(-1, 320)
    found = np.concatenate([halver(np.array([0]), f[None])[0] for f in said])
    assert np.abs(found[200:].astype(int)).max() < 30
