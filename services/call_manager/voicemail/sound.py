"""The sounds of boxes, as they are kept: MP3, which every mail program plays."""

from __future__ import annotations

import io
from typing import cast

import av
from av import AudioFrame, AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError

KIND = "audio/mpeg"
RATE = 16000
BIT_RATE = 32_000
"""Bits a second: three minutes are 720 kB."""
LONGEST = 900.0
"""Seconds of one sound."""


class SoundError(Exception):
    """It is no sound, or too long; the message says which."""


def compress(data: bytes) -> tuple[bytes, float]:
    """A sound (WAV, or what else FFmpeg reads) as it is kept, and how many seconds it has.

    Takes a while: call it from a thread. Raises SoundError.
    """
    out = io.BytesIO()
    samples = 0
    try:
        with av.open(io.BytesIO(data), "r") as source, av.open(out, "w", format="mp3") as target:
            if not source.streams.audio:
                raise SoundError("there is no sound in it")
            stream = cast("AudioStream", target.add_stream("libmp3lame", rate=RATE))
            stream.layout = "mono"
            stream.bit_rate = BIT_RATE
            resampler = AudioResampler(format="s16p", layout="mono", rate=RATE)
            for frame in source.decode(source.streams.audio[0]):
                for part in resampler.resample(frame):
                    samples += _encode(target, stream, part)
                if samples > LONGEST * RATE:
                    raise SoundError(f"it is longer than {LONGEST:g} s")
            for part in resampler.resample(None):
                samples += _encode(target, stream, part)
            if not samples:
                raise SoundError("there is no sound in it")
            target.mux(stream.encode(None))
    except (FFmpegError, ValueError) as error:
        raise SoundError(f"it cannot be read: {error}") from None
    return out.getvalue(), samples / RATE


def _encode(target: OutputContainer, stream: AudioStream, part: AudioFrame) -> int:
    target.mux(stream.encode(part))
    return part.samples
