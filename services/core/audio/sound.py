"""Sound at rest: files in and out, and other sampling rates. All of it may take a while."""

from __future__ import annotations

import io
import os
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.core.audio.errors import ClipError

if TYPE_CHECKING:
    from av import AudioFrame

Samples = NDArray[np.int16]
LONGEST = 4 * 3600
"""Seconds of a file that are read, if nothing else is said."""


def read(path: Path, rate: int, longest: float = LONGEST) -> Samples:
    """The sound of a file (WAV, Opus and what else FFmpeg reads), mono, at ``rate``.

    What is after ``longest`` seconds is left out. Raises ClipError.
    """
    # A third of a second of imports, which nobody needs who only plays tones.
    import av
    import av.error

    parts: list[Samples] = []
    wanted, total = round(longest * rate), 0
    try:
        with av.open(str(path), "r") as file:
            if not file.streams.audio:
                raise ClipError(f"{path}: there is no sound in it")
            resampler = av.AudioResampler("s16", "mono", rate)
            for frame in file.decode(file.streams.audio[0]):
                new = [_row(part) for part in resampler.resample(frame)]
                parts += new
                total += sum(len(part) for part in new)
                if total >= wanted:
                    break
            parts += map(_row, resampler.resample(None))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(f"{path}: {reason}") from None
    if not parts:
        raise ClipError(f"{path}: there is no sound in it")
    return np.concatenate(parts)[:wanted]


def _row(frame: AudioFrame) -> Samples:
    return frame.to_ndarray().reshape(-1).astype(np.int16)


def write(path: Path, samples: Samples, rate: int) -> None:
    """Keep a sound as WAV, all or nothing; folders are made. Raises OSError."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(buffer.getvalue())
    new.replace(path)


def resample(samples: NDArray[np.generic], source: int, target: int) -> Samples:
    """The same sound at another rate, by the spectrum: exact for any ratio."""
    sound = samples.astype(np.float64)
    length = round(len(sound) * target / source)
    if source != target and len(sound):
        spectrum = np.fft.rfft(sound)[: length // 2 + 1]
        spectrum = np.pad(spectrum, (0, length // 2 + 1 - len(spectrum)))
        sound = np.fft.irfft(spectrum, length) * (length / len(sound))
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
