"""What was in recordings: which voices, how loud, how long the longest gap."""

from __future__ import annotations

from pathlib import Path

from pbxctl.probe.audio import VOICES, judge, loudness, read_wav

__all__ = ["judge", "loudness", "read_wav", "voices_in"]


def voices_in(path: Path, *, coverage: float = 0.8) -> set[int]:
    """The voices that are in ``coverage`` of any channel of a WAV, from where each begins on."""
    channels, rate = read_wav(path)
    return {
        voice
        for voice in range(VOICES)
        for samples in channels
        if judge(samples, rate, voice).coverage >= coverage
    }
