"""Tones, speech, files and rates."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from services.core.audio import ClipError, sound, tones
from services.core.audio.speech import Speaker, SpeechError, speak, voice


def dominant(samples: sound.Samples, rate: int = tones.RATE) -> set[int]:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    at = np.fft.rfftfreq(len(samples), 1 / rate)
    return {round(f) for f in at[spectrum > spectrum.max() * 0.7]}


def near(found: set[int], wanted: set[int]) -> bool:
    return all(any(abs(f - w) < 8 for w in wanted) for f in found) and all(
        any(abs(f - w) < 8 for f in found) for w in wanted
    )


def test_tones_of_the_countries() -> None:
    busy, ringback = tones.tone("busy", "us"), tones.tone("ringback", "de")
    assert near(dominant(tones.tone("busy", "de")[:3840]), {425})
    assert near(dominant(busy[:4000]), {480, 620})
    assert not busy[4000:].any()
    assert len(busy) == 8000
    assert near(dominant(ringback[:8000]), {425})
    assert not ringback[8000:].any()
    assert len(tones.tone("ringback", "gb", 16000)) == 48000
    assert tones.tone("busy", "nowhere").tolist() == tones.tone("busy", "de").tolist()
    assert near(dominant(tones.special_information()[:2600]), {950})


@pytest.mark.parametrize("where", tones.COUNTRIES)
@pytest.mark.parametrize("kind", tones.TONES)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_every_tone_can_go_round(where: str, kind: tones.Tone, rate: int) -> None:
    made = tones.tone(kind, where, rate)
    twice = np.concatenate([made, made]).astype(int)
    step = np.abs(np.diff(twice))
    assert step[len(made) - 1] <= step[: len(made) - 1].max(), "no click where it begins again"


def test_a_tone_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="dial, ringback, busy, congestion"):
        tones.tone("engaged", "gb")  # pyright: ignore[reportArgumentType]


def test_languages_have_their_countries_tones() -> None:
    asked = ("de", "de-AT", "en", "en-GB", "fr", "sv", "xx", "")
    assert [tones.country(x) for x in asked] == [
        "de", "at", "us", "gb", "fr", "se", "de", "de"
    ]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), [(22050, 8000), (22050, 16000), (8000, 16000)])
def test_resampling(source: int, target: int) -> None:
    time = np.arange(source) / source
    found = sound.resample(8000 * np.sin(2 * np.pi * 1000 * time), source, target)
    assert len(found) == target
    assert near(dominant(found, target), {1000})
    assert np.abs(found).max() == pytest.approx(8000, rel=0.02)


def test_a_file_there_and_back(tmp_path: Path) -> None:
    said = tones.beep((440.0,), 0.5)
    sound.write(tmp_path / "new" / "x.wav", said, 8000)
    assert sound.read(tmp_path / "new" / "x.wav", 8000).tolist() == said.tolist()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.wav"]
    assert len(sound.read(tmp_path / "new" / "x.wav", 8000, 0.1)) == 800
    wide = sound.read(tmp_path / "new" / "x.wav", 16000)
    assert abs(len(wide) - 8000) < 50
    assert near(dominant(wide, 16000), {440})


@pytest.mark.parametrize("content", [b"", b"RIFF, but no more", bytes(5000)])
def test_what_is_no_sound_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(ClipError, match=r"x\.wav"):
        sound.read(path, 8000)


def test_texts_are_spoken_once(tmp_path: Path) -> None:
    speaker = Speaker(tmp_path)
    path = speaker.spoken("Please hold the line.", "en")
    made = path.stat().st_mtime_ns
    assert speaker.spoken("Please hold the line.", "en") == path
    assert path.stat().st_mtime_ns == made
    assert path != speaker.path("Please hold the line!", "en")
    assert path != speaker.path("Please hold the line.", "de")
    said = sound.read(path, 8000).astype(float)
    assert 0.8 < len(said) / 8000 < 4
    assert np.sqrt((said**2).mean()) > 500


def test_languages_and_their_voices() -> None:
    assert voice("de-DE") == "de"
    assert voice("pt-BR") == "pt-br"
    assert voice("EN_gb") == "en-gb"
    with pytest.raises(SpeechError, match="no voice for 'tlh'"):
        speak("nuqneH", "tlh")


@pytest.mark.parametrize("text", ["-v de", "--help", "\x00\x01", "<speak>", "a" * 2000])
def test_any_text_is_only_text(text: str) -> None:
    with contextlib.suppress(SpeechError):  # of nothing but control characters, for one
        assert len(speak(text, "en"))


def test_without_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechError, match="not installed"):
        Speaker(tmp_path).spoken("Hello.", "en")
