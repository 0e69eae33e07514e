"""The sound of each announcement: a tone, then a voice, made once and kept."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path

import numpy as np

from services.core.audio import AudioError, sound, tones
from services.core.audio.sound import Samples
from services.core.audio.speech import Speaker
from services.core.audio.tones import RATE

log = logging.getLogger(__name__)

TEXTS = Path(__file__).with_name("prompts.toml")
FALLBACK = "en"
TONE_BEFORE = 2.0
"""Seconds of a tone before the voice."""
TONE_ALONE = 4.0
"""Seconds of tone where there is no voice."""
LONGEST = 30
"""Seconds of an announcement: the caller's INVITE has to end some day."""


def texts() -> dict[str, dict[str, str]]:
    """What is said, by language and announcement."""
    with TEXTS.open("rb") as file:
        return tomllib.load(file)


def compose(announcement: str, language: str, voice: Samples | None) -> Samples:
    """Tone and voice, or the tone alone."""
    where = tones.country(language)
    if announcement == "busy":
        seconds = TONE_ALONE if voice is None else TONE_BEFORE
        tone = np.resize(tones.tone("busy", where), round(seconds * RATE))
    else:
        tone = tones.special_information()
    if voice is None:
        return tone
    pause = np.zeros(RATE // 4, np.int16)
    return np.concatenate([tone, pause, voice, pause])


class Prompts:
    """All announcements in all languages, ready to be played."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._speaker = Speaker(directory / "spoken", RATE)
        self._sounds: dict[tuple[str, str], Samples] = {}
        self.names = frozenset(name for said in texts().values() for name in said)

    def prepare(self) -> list[str]:
        """Read or make every announcement; what had to be left a mere tone. Takes seconds once."""
        missing: list[str] = []
        for language, said in texts().items():
            for announcement, text in said.items():
                try:
                    voice = self._voice(language, announcement, text)
                except (AudioError, OSError) as error:
                    missing.append(f"{language}/{announcement}: {error}")
                    voice = None
                self._sounds[language, announcement] = compose(announcement, language, voice)
        return missing

    def _voice(self, language: str, announcement: str, text: str) -> Samples:
        own = self._directory / language / f"{announcement}.wav"
        path = own if own.exists() else self._speaker.spoken(text, language)
        return sound.read(path, RATE, LONGEST)

    def sound(self, announcement: str, language: str) -> Samples:
        """At 8 kHz; English where there is no such language, a tone while nothing is ready."""
        wanted = language.lower().replace("_", "-")
        for candidate in (wanted, wanted.partition("-")[0], FALLBACK):
            if (candidate, announcement) in self._sounds:
                return self._sounds[candidate, announcement]
        return compose(announcement, wanted, None)
