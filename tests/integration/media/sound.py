"""Sound for tests: made, encoded as a phone does, and judged by what can be heard in it."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from services.core.audio import g711
from services.media.recording.codecs import decoder

Samples = NDArray[np.int16]
RATES = {"PCMA": 8000, "PCMU": 8000, "G722": 16000, "opus": 48000}
CLOCKS = {"PCMA": 8000, "PCMU": 8000, "G722": 8000, "opus": 48000}
NAMES = {"PCMA": "PCMA/8000", "PCMU": "PCMU/8000", "G722": "G722/8000", "opus": "opus/48000/2"}


def tone(frequency: float, seconds: float, rate: int, amplitude: int = 8000) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.int16)


def frames(samples: Samples, codec: str) -> Iterator[bytes]:
    """Payloads of 20 ms."""
    size = RATES[codec] // 50
    chunks = (samples[i : i + size] for i in range(0, len(samples) - size + 1, size))
    if codec in ("PCMA", "PCMU"):
        for chunk in chunks:
            yield g711.encode(chunk, NAMES[codec]).tobytes()
        return
    context = av.CodecContext.create("g722" if codec == "G722" else "libopus", "w")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout, context.format = RATES[codec], "mono", "s16"
    for number, chunk in enumerate(chunks):
        frame = av.AudioFrame.from_ndarray(chunk[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATES[codec], number * size
        for packet in context.encode(frame):
            yield bytes(packet)


def decode(payloads: list[bytes], codec: str, rate: int = 8000) -> Samples:
    wanted = rate if codec in ("PCMA", "PCMU") else 16000
    how = decoder(NAMES[codec], wanted)
    parts = [how.decode(payload) for payload in payloads]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def power(samples: Samples, rate: int, frequency: float) -> float:
    """The part of the sound's energy that lies within 15 Hz of a frequency, 0 to 1."""
    if not len(samples) or not np.any(samples):
        return 0.0
    windowed = samples.astype(np.float64) * np.hanning(len(samples))
    energy = np.abs(np.fft.rfft(windowed)) ** 2
    at = np.fft.rfftfreq(len(samples), 1 / rate)
    return float(energy[np.abs(at - frequency) < 15].sum() / energy[1:].sum())


def loudness(samples: Samples) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def hears(samples: Samples, rate: int, frequency: float) -> bool:
    """Whether the sound is this tone and little else, and loud enough to be heard."""
    return power(samples, rate, frequency) > 0.9 and loudness(samples) > 500
