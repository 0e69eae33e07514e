"""From a capture to a WAV file, as a stream: an hour needs no more memory than a minute."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import msgspec

from services.media import rtp
from services.media.recording import codecs, pcap
from services.media.recording.metadata import Stream
from services.media.recording.stereo import Stereo
from services.media.recording.timeline import Placed, Timeline
from services.media.sdp import STATIC

SETTLED = 1.0
"""Seconds after which nothing comes any more for a moment: reordering and jitter are over."""
LONGEST_PAUSE = 4 * 3600
"""Seconds without any packet after which the rest of a capture is not believed."""
LONGEST = 0xFFFFFF00
"""Bytes of sound that a WAV file can hold."""
FIRST_DYNAMIC = 96


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A capture to convert. ``streams`` are by rtpengine's port; others are passed over."""

    capture: str
    wav: str
    streams: dict[int, Stream]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """``started`` in Unix seconds, ``duration`` in seconds. ``unknown``: codecs left out."""

    started: float
    duration: float
    bytes: int
    rate: int
    lost: int
    unknown: tuple[str, ...] = ()


class SilentError(Exception):
    """The capture has no packet of sound: nobody answered, or nobody spoke."""


class UnreadableError(Exception):
    """There is sound, in codecs that are not decoded here."""


def codec_of(stream: Stream, payload_type: int) -> str:
    """The codec of a payload type on a port; empty if nobody said."""
    named = stream.codecs.get(payload_type) or STATIC.get(payload_type)
    return named or (stream.codec if payload_type >= FIRST_DYNAMIC else "")


class Survey(msgspec.Struct, kw_only=True):
    """A first look at a capture: when the sound begins, and the codecs in it."""

    started: float = 0.0
    codecs: set[str] = set()


def survey(captured: Iterator[pcap.Captured], streams: dict[int, Stream]) -> Survey:
    """Raises SilentError, UnreadableError."""
    found = Survey(codecs=set())
    seen: set[tuple[int, int]] = set()
    for time, port, data in captured:
        if len(data) < 12 or port not in streams or 192 <= data[1] <= 223:
            continue
        kind = (port, data[1] & 0x7F)
        if found.started and kind in seen:
            continue
        seen.add(kind)
        codec = codec_of(streams[port], kind[1])
        found.codecs.add(codec or f"payload type {kind[1]}")
        if not found.started and codecs.clock(codec):
            found.started = time
    if not seen:
        raise SilentError("no packet of sound in it")
    if not found.started:
        raise UnreadableError(f"no codec in it that is known here: {', '.join(found.codecs)}")
    return found


class Channel:
    """One direction: packets in, sound out."""

    def __init__(self, stream_of: dict[int, Stream], rate: int) -> None:
        self._streams = stream_of
        self._rate = rate
        self._port = 0
        self._decoders: dict[tuple[int, str], codecs.Decoder] = {}
        self.timeline = Timeline(lambda kind: codecs.clock(self._codec(kind)))

    def _codec(self, payload_type: int) -> str:
        return codec_of(self._streams[self._port], payload_type)

    def feed(self, time: float, port: int, packet: rtp.Packet) -> Iterator[Placed]:
        """Packets whose turn has come."""
        self._port = port
        return self.timeline.feed(time, packet)

    def sound(self, packet: rtp.Packet) -> codecs.Samples:
        """A packet's samples; each sender has a decoder of its own."""
        codec = self._codec(packet.payload_type)
        key = (packet.ssrc, codec)
        if key not in self._decoders:
            if len(self._decoders) > 16:
                self._decoders.clear()  # a sender that changes its SSRC all the time
            self._decoders[key] = codecs.decoder(codec, self._rate)
        return self._decoders[key].decode(packet.payload)


class _Wav:
    """A WAV file that is whole at any moment but for the lengths in its header."""

    def __init__(self, path: Path, rate: int) -> None:
        self._file = path.open("wb")
        self._wav = wave.open(self._file, "wb")  # noqa: SIM115 - closed by `close`
        self._wav.setnchannels(2)
        self._wav.setsampwidth(2)
        self._wav.setframerate(rate)
        self.frames = 0

    def write(self, frames: codecs.Samples) -> None:
        if self._wav.tell() * 4 + frames.nbytes < LONGEST:
            self._wav.writeframesraw(frames.astype("<i2").tobytes())
            self.frames += len(frames)

    def close(self) -> None:
        self._wav.close()
        self._file.close()


def convert(work: Work) -> Result:
    """Writes ``work.wav``: 16-bit stereo, caller left, callee right.

    8 kHz, or 16 kHz where either side has a wideband codec. Raises SilentError, UnreadableError,
    `pcap.PcapError`, OSError.
    """
    with Path(work.capture).open("rb") as file:
        seen = survey(pcap.read(file), work.streams)
    wide = any(codec.split("/")[0].upper() in codecs.WIDEBAND for codec in seen.codecs)
    rate = 16000 if wide else 8000
    stereo = Stereo(rate, seen.started)
    channels = (Channel(work.streams, rate), Channel(work.streams, rate))
    wav = _Wav(Path(work.wav), rate)
    try:
        with Path(work.capture).open("rb") as file:
            _mix(pcap.read(file), work.streams, channels, stereo, wav)
    finally:
        wav.close()
    unknown = sorted(
        codec
        for codec in seen.codecs
        if not codecs.clock(codec) and codec.split("/")[0].upper() not in codecs.NOT_SOUND
    )
    return Result(
        started=seen.started,
        duration=wav.frames / rate,
        bytes=Path(work.wav).stat().st_size,
        rate=rate,
        lost=sum(channel.timeline.lost for channel in channels),
        unknown=tuple(unknown),
    )


def _mix(
    captured: Iterator[pcap.Captured],
    streams: dict[int, Stream],
    channels: tuple[Channel, Channel],
    stereo: Stereo,
    wav: _Wav,
) -> None:
    last = 0.0
    taken = 0.0
    for captured_at, port, data in captured:
        if port not in streams:
            continue
        packet = rtp.parse(data)
        if packet is None:
            continue
        time = max(captured_at, last)  # the host's clock may be set back
        if last and time - last > LONGEST_PAUSE:
            break
        last = time
        # Room first: a packet after a long pause lies beyond what is held.
        if time - SETTLED - taken > SETTLED:
            taken = time - SETTLED
            for frames in stereo.take(taken):
                wav.write(frames)
        number = streams[port].channel
        for placed in channels[number].feed(time, port, packet):
            stereo.write(number, placed.time, channels[number].sound(placed.packet))
    for number, channel in enumerate(channels):
        for placed in channel.timeline.flush():
            stereo.write(number, placed.time, channel.sound(placed.packet))
    for frames in stereo.rest():
        wav.write(frames)
