"""Prompts from text: spoken by espeak-ng, once, and kept.

    speaker = Speaker(data_dir / "spoken", rate=8000)
    path = speaker.spoken("Please hold the line.", "en-GB")     # takes a while the first time

It blocks, so it is for `trio.to_thread.run_sync`, or for `pbxctl apply`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np

from services.core.audio import sound
from services.core.audio.errors import AudioError
from services.core.audio.sound import Samples

ENGINE = "espeak-ng"
WORDS_A_MINUTE = 150
LONGEST = 120
"""Seconds of a prompt."""
_OTHERS = re.compile(r"\(([A-Za-z0-9-]+) \d+\)")
"""What else a voice speaks, at the end of its row: ``(en 2)``."""
PATIENCE = 60
"""Seconds for the engine to speak."""


class SpeechError(AudioError):
    """A text cannot be spoken; the message says why."""


def _binary() -> str:
    binary = shutil.which(ENGINE)
    if binary is None:
        raise SpeechError(f"{ENGINE} is not installed")
    return binary


@functools.cache
def _voices(binary: str) -> frozenset[str]:
    try:
        listed = subprocess.run([binary, "--voices"], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise SpeechError(f"{ENGINE} does not tell its voices: {error}") from None
    rows = listed.stdout.decode("utf-8", "replace").splitlines()[1:]
    own = {row.split()[1].lower() for row in rows if len(row.split()) > 1}
    others = {name.lower() for row in rows for name in _OTHERS.findall(row)}
    return frozenset(own | others)


def voice(language: str) -> str:
    """The voice that speaks ``language`` (``de``, ``en-GB``): its own, or that of the language.

    Raises SpeechError where there is none: another language would not be understood.
    """
    wanted = language.lower().replace("_", "-")
    known = _voices(_binary())
    for candidate in (wanted, wanted.partition("-")[0]):
        if candidate in known:
            return candidate
    near = sorted(known & {name for name in known if name[:1] == wanted[:1]})
    raise SpeechError(
        f"{ENGINE} has no voice for {language!r}; record this prompt, or choose one of"
        f" {', '.join(near) or len(known)}"
    )


def speak(text: str, language: str, rate: int = 8000) -> Samples:
    """The text, spoken. Raises SpeechError."""
    name = voice(language)
    try:
        made = subprocess.run(
            [_binary(), "-v", name, "-s", str(WORDS_A_MINUTE), "--stdin", "--stdout"],
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        with wave.open(io.BytesIO(made.stdout), "rb") as file:
            own = file.getframerate()
            # A stream's header has no true length: what is there is read.
            spoken = np.frombuffer(file.readframes(own * LONGEST), "<i2")
    except (OSError, subprocess.SubprocessError, EOFError, wave.Error) as error:
        raise SpeechError(f"{ENGINE} made nothing of {text!r}: {error}") from None
    if not len(spoken):
        raise SpeechError(f"{ENGINE} made nothing of {text!r}")
    return sound.resample(spoken, own, rate)


class Speaker:
    """Spoken texts in a folder, one file a text and voice; who changes a text gets another file."""

    def __init__(self, directory: Path, rate: int = 8000) -> None:
        self._directory = directory
        self._rate = rate

    def path(self, text: str, language: str) -> Path:
        """Where the text is kept, whether it is there or not. Raises SpeechError."""
        name = voice(language)
        what = "\0".join((ENGINE, name, str(WORDS_A_MINUTE), str(self._rate), text))
        return self._directory / name / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.wav"

    def spoken(self, text: str, language: str) -> Path:
        """A WAV file of the text, made if it is not there. Raises SpeechError, OSError."""
        path = self.path(text, language)
        if not path.exists():
            sound.write(path, speak(text, language, self._rate), self._rate)
        return path
