"""RTP payloads to sound: G.711 by table, G.722 and Opus by FFmpeg."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.audio.g711 import ALAW, ULAW

Samples = NDArray[np.int16]
WIDEBAND = frozenset({"G722", "OPUS"})
NOT_SOUND = frozenset({"TELEPHONE-EVENT", "CN", "RED", "ULPFEC"})


class Decoder(Protocol):
    """One stream; payloads in the order they were sent."""

    def decode(self, payload: bytes) -> Samples:
        """The sound of one payload, at the rate asked for."""
        ...


def clock(codec: str) -> int:
    """RTP clock in Hz of ``name/clock[/channels]``; 0 if this codec is not decoded here."""
    name, _, rest = codec.partition("/")
    if name.upper() in ("PCMU", "PCMA", "G722"):
        return 8000  # G.722 by a mistake kept for compatibility: RFC 3551 section 4.5.2
    if name.upper() == "OPUS":
        return 48000
    return _number(rest) if name.upper() == "L16" else 0


def _number(rest: str) -> int:
    first = rest.split("/")[0]
    return int(first) if first in ("8000", "16000") else 0


def decoder(codec: str, rate: int) -> Decoder:
    """A decoder whose output is mono at ``rate``, 8000 or 16000. Raises ValueError if unknown."""
    name = codec.split("/")[0].upper()
    if name in ("PCMU", "PCMA"):
        return Companded(ULAW if name == "PCMU" else ALAW, rate)
    if name == "G722":
        return Compressed("g722", 16000, rate)
    if name == "OPUS":
        return Compressed("libopus", 48000, rate)
    if name == "L16" and clock(codec) == rate:
        return Linear()
    raise ValueError(f"codec {codec} is not decoded")


def lowpass(taps: int, cutoff: float, gain: float) -> NDArray[np.float64]:
    """A windowed-sinc filter; ``cutoff`` as a part of the sampling rate."""
    n = np.arange(taps) - (taps - 1) / 2
    shape = 2 * cutoff * np.sinc(2 * cutoff * n) * np.hamming(taps)
    return gain * shape / shape.sum()


class Resampler:
    """Whole-number rate changes, one stream: ``up`` or ``down`` times, the other 1."""

    def __init__(self, up: int, down: int) -> None:
        self._up, self._down = up, down
        factor = max(up, down)
        self._filter = lowpass(16 * factor + 1, 0.45 / factor, up)
        self._tail = np.zeros(len(self._filter) - 1)

    def __call__(self, samples: Samples) -> Samples:
        sound = samples.astype(np.float64)
        if self._up > 1:
            stuffed = np.zeros(len(sound) * self._up)
            stuffed[:: self._up] = sound
            sound = stuffed
        joined = np.concatenate((self._tail, sound))
        self._tail = joined[len(sound) :]
        # The filter is symmetric; only the samples that are kept are computed.
        windows = np.lib.stride_tricks.sliding_window_view(joined, len(self._filter))
        filtered = windows[:: self._down] @ self._filter
        return np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)


def _resampler(source: int, target: int) -> Resampler | None:
    if source == target:
        return None
    return Resampler(max(1, target // source), max(1, source // target))


class Companded:
    """G.711."""

    def __init__(self, table: Samples, rate: int) -> None:
        self._table = table
        self._resample = _resampler(8000, rate)

    def decode(self, payload: bytes) -> Samples:
        samples = self._table[np.frombuffer(payload, np.uint8)]
        return self._resample(samples) if self._resample else samples


class Linear:
    """L16 (RFC 3551 section 4.5.11), mono."""

    def decode(self, payload: bytes) -> Samples:
        return np.frombuffer(payload[: len(payload) // 2 * 2], ">i2").astype(np.int16)


class Compressed:
    """What FFmpeg decodes, mono."""

    def __init__(self, name: str, source: int, rate: int) -> None:
        # Half a second of imports, which calls in G.711 never need.
        import av
        import av.error

        self._av = av
        context = av.CodecContext.create(name, "r")
        assert isinstance(context, av.AudioCodecContext)  # noqa: S101 - both names are audio's
        context.sample_rate = source
        context.layout = "mono"
        self._context = context
        self._resample = _resampler(source, rate)

    def decode(self, payload: bytes) -> Samples:
        """A payload that FFmpeg cannot read is a lost one: no sound."""
        try:
            frames = self._context.decode(self._av.Packet(payload))
        except self._av.error.FFmpegError:
            return np.zeros(0, np.int16)
        parts = [_mono(frame.to_ndarray(), len(frame.layout.channels)) for frame in frames]
        samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        return self._resample(samples) if self._resample else samples


def _mono(array: NDArray[np.generic], channels: int) -> Samples:
    """One row a channel if planar, else interleaved in one row."""
    if channels == 1 and array.dtype == np.int16:
        return array.reshape(-1).astype(np.int16)
    sound = array.astype(np.float64)
    if np.issubdtype(array.dtype, np.floating):
        sound *= 32767
    by_channel = sound if array.shape[0] == channels else sound.reshape(-1, channels).T
    return np.clip(np.rint(by_channel.mean(axis=0)), -32768, 32767).astype(np.int16)
