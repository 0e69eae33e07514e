"""The judge is judged: a voice that was delayed, cut, muffled, mixed or replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbxctl.probe import audio

RATE = 8000
RATES = st.sampled_from([8000, 16000, 48000])
VOICE = st.integers(0, audio.VOICES - 1)


def mu_law(samples: audio.Samples) -> audio.Samples:
    """Through the companding of G.711, 8 bits a sample."""
    squeezed = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log1p(255)
    squeezed = np.round(squeezed * 127) / 127
    return (np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log1p(255)) / 255).astype(np.float32)


def test_every_pair_of_tones_occurs_once_a_period() -> None:
    tones = audio.sequence().tolist()
    pairs = list(zip(tones, [*tones[1:], tones[0]], strict=True))
    assert len(pairs) == len(set(pairs)) == audio.TONES * (audio.TONES - 1)
    assert all(one != other for one, other in pairs)


def test_voices_share_no_tone() -> None:
    tones = np.concatenate([audio.frequencies(voice) for voice in range(audio.VOICES)])
    assert len(set(tones.tolist())) == audio.VOICES * audio.TONES
    with pytest.raises(ValueError, match="voice 3: there are voices 0 to 2"):
        audio.frequencies(3)


@given(voice=VOICE, rate=RATES, level=st.floats(-30, -3))
@settings(deadline=None, max_examples=15)
def test_the_voice_itself_is_heard_whole(voice: int, rate: int, level: float) -> None:
    heard = audio.judge(audio.speak(voice, rate, seconds=2.0, level=level), rate, voice)
    assert heard.likeness > 0.999
    assert heard.coverage == 1
    assert heard.longest_gap == 0
    assert heard.slips == 0
    assert heard.level == pytest.approx(level, abs=0.1)


@given(voice=VOICE, other=VOICE)
@settings(deadline=None, max_examples=9)
def test_another_voice_is_not_this_one(voice: int, other: int) -> None:
    heard = audio.judge(audio.speak(other, RATE, seconds=2.0), RATE, voice)
    assert (heard.likeness > 0.5) == (voice == other)
    assert (heard.coverage > 0.5) == (voice == other)


@given(voice=VOICE, delay=st.floats(0, 3.5), rate=RATES)
@settings(deadline=None, max_examples=25)
def test_the_delay_is_found_to_two_hops(voice: int, delay: float, rate: int) -> None:
    silence = np.zeros(round(delay * rate), np.float32)
    heard = audio.judge(np.concatenate([silence, audio.speak(voice, rate)]), rate, voice)
    assert heard.offset is not None
    away = abs(heard.offset - delay)
    assert min(away, audio.PERIOD - away) <= 2 * audio.HOP
    assert heard.first == pytest.approx(max(delay, audio.WINDOW / 2), abs=0.02)


@given(at=st.floats(1.0, 2.0), gap=st.floats(0.06, 1.5), rate=RATES)
@settings(deadline=None, max_examples=25)
def test_the_longest_gap_is_found_to_20_ms(at: float, gap: float, rate: int) -> None:
    samples = audio.speak(1, rate, seconds=5.0)
    samples[round(at * rate) : round((at + gap) * rate)] = 0
    heard = audio.judge(samples, rate, 1)
    assert heard.longest_gap == pytest.approx(gap * 1000, abs=20)
    assert heard.gaps == 1
    assert heard.coverage == pytest.approx(1 - gap / 5, abs=0.02)
    assert heard.slips == 0


def test_silence_at_the_end_is_a_gap() -> None:
    samples = np.concatenate([audio.speak(0, RATE, seconds=2), np.zeros(RATE, np.float32)])
    assert audio.judge(samples, RATE, 0).longest_gap == pytest.approx(1000, abs=20)
    assert audio.judge(samples, RATE, 0, end=2.0).longest_gap == 0


def test_silence_before_the_start_that_was_asked_for_is_a_gap() -> None:
    samples = np.concatenate([np.zeros(RATE, np.float32), audio.speak(0, RATE, seconds=2)])
    assert audio.judge(samples, RATE, 0).longest_gap == 0
    assert audio.judge(samples, RATE, 0, start=0.4).longest_gap == pytest.approx(600, abs=20)


@given(skip=st.floats(0.04, 0.5), at=st.floats(0.8, 1.2))
@settings(deadline=None, max_examples=20)
def test_a_jitter_buffer_that_skips_makes_a_slip_and_spoils_nothing(skip: float, at: float) -> None:
    samples = audio.speak(2, RATE, seconds=3)
    cut, back = round(at * RATE), round((at + skip) * RATE)
    heard = audio.judge(np.concatenate([samples[:cut], samples[back:]]), RATE, 2)
    assert heard.slips == 1
    assert heard.coverage > 0.98
    assert heard.longest_gap <= 40


@given(noise=st.floats(0.0, 0.08), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_noise_lowers_likeness_before_coverage(noise: float, seed: int) -> None:
    samples = audio.speak(0, RATE, seconds=2)
    hiss = np.random.default_rng(seed).normal(0, noise, len(samples)).astype(np.float32)
    heard = audio.judge(samples + hiss, RATE, 0)
    assert heard.coverage > 0.98
    assert heard.likeness <= heard.coverage
    assert heard.likeness > 0.85


@given(seed=st.integers(0, 1000), level=st.floats(0.001, 0.5))
@settings(deadline=None, max_examples=20)
def test_noise_alone_is_nothing(seed: int, level: float) -> None:
    hiss = np.random.default_rng(seed).normal(0, level, 2 * RATE).astype(np.float32)
    assert audio.judge(hiss, RATE, 0).coverage == 0


@given(frequency=st.floats(300, 3400))
@settings(deadline=None, max_examples=20)
def test_a_steady_tone_such_as_ringback_is_nothing(frequency: float) -> None:
    time = np.arange(2 * RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
    for voice in range(audio.VOICES):
        assert audio.judge(tone, RATE, voice).coverage == 0


def test_g711_is_heard_as_like() -> None:
    heard = audio.judge(mu_law(audio.speak(0, RATE, seconds=3)), RATE, 0)
    assert heard.likeness > 0.99
    assert heard.longest_gap == 0


def test_both_voices_are_found_in_a_mix() -> None:
    mix = audio.speak(0, RATE, seconds=3) + audio.speak(1, RATE, seconds=3)
    for voice, there in ((0, True), (1, True), (2, False)):
        assert (audio.judge(mix, RATE, voice).coverage > 0.95) == there


@given(seconds=st.floats(0, 0.2))
@settings(deadline=None, max_examples=20)
def test_too_little_to_judge_is_not_heard(seconds: float) -> None:
    samples = np.zeros(round(seconds * RATE), np.float32)
    heard = audio.judge(samples, RATE, 0)
    assert heard.likeness == 0
    assert heard.first is None


def test_a_long_recording_is_judged_in_blocks_that_leave_no_seam() -> None:
    heard = audio.judge(audio.speak(0, RATE, seconds=60), RATE, 0)
    assert heard.coverage == 1
    assert heard.longest_gap == 0


def test_a_rate_that_cannot_be_cut_into_hops_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling rate 11025"):
        audio.judge(np.zeros(20000, np.float32), 11025, 0)


def test_loudness_of_a_sine() -> None:
    assert audio.loudness(audio.speak(0, RATE, level=-20)) == pytest.approx(-20, abs=0.1)
    assert audio.loudness(np.zeros(0, np.float32)) == -120


def test_a_wav_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    samples = audio.speak(1, 16000)
    audio.write_wav(path, samples, 16000)
    channels, rate = audio.read_wav(path)
    assert rate == 16000
    assert len(channels) == 1
    assert np.abs(channels[0] - samples).max() < 1e-4


def test_what_is_no_wav_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "not.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"not\.wav: not a WAV file"):
        audio.read_wav(path)
