from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.core.audio import sound, tones
from services.core.sip import Headers, parse_uri
from services.media.announcement.prompts import Prompts, compose, texts
from services.media.announcement.wish import FINALS, wish


@pytest.mark.parametrize(
    ("uri", "extra", "language", "final"),
    [
        ("sip:busy@h;lang=de;final=600", (), "de", 600),
        ("sip:Busy@h", (), "", 486),
        ("sip:unknown-number@h", (), "", 404),
        ("sip:busy@h", (("X-PBX-Language", "en"), ("X-PBX-Final", "404")), "en", 404),
        ("sip:busy@h", (("X-PBX-Final", "200"),), "", 486),
        ("sip:busy@h", (("X-PBX-Final", "\u0664\u0660\u0664"),), "", 486),
    ],
)
def test_language_and_final(
    uri: str, extra: tuple[tuple[str, str], ...], language: str, final: int
) -> None:
    found = wish(parse_uri(uri), Headers(extra))
    assert (found.language, found.final) == (language, final)
    assert found.announcement in FINALS


def dominant(samples: tones.Samples) -> set[int]:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    at = np.fft.rfftfreq(len(samples), 1 / tones.RATE)
    return {round(f) for f in at[spectrum > spectrum.max() * 0.7]}


def near(found: set[int], wanted: set[int]) -> bool:
    return all(any(abs(f - w) < 8 for w in wanted) for f in found) and all(
        any(abs(f - w) < 8 for f in found) for w in wanted
    )


def test_every_language_says_every_announcement() -> None:
    said = texts()
    assert set(said) == {"en", "de"}
    names = {"unknown-number", "busy", "unavailable", "not-permitted"}
    assert all(set(of) == names and all(of.values()) for of in said.values())


def test_without_a_voice_there_is_a_tone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    prompts = Prompts(tmp_path)
    missing = prompts.prepare()
    assert len(missing) == 8
    assert "espeak-ng is not installed" in missing[0]
    assert near(dominant(prompts.sound("busy", "de")[:3840]), {425})
    assert near(dominant(prompts.sound("unknown-number", "xx")[:2600]), {950})


def test_ones_own_recording_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    own = tones.beep((1234.0,), 1.0)
    sound.write(tmp_path / "en" / "busy.wav", own, tones.RATE)
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "busy.wav").write_bytes(b"RIFF, but no more")
    prompts = Prompts(tmp_path)
    missing = prompts.prepare()
    assert len(missing) == 7
    assert any("de/busy" in text for text in missing)
    assert near(dominant(prompts.sound("busy", "en-US")[-10000:-2000]), {1234})


def test_tone_pause_and_voice_follow_each_other() -> None:
    voice = np.full(800, 7, np.int16)
    whole = compose("unavailable", "en", voice)
    assert len(whole) == 3 * 2640 + 2000 + 800 + 2000
