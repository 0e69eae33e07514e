from __future__ import annotations

import tracemalloc
import wave
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.core.audio import g711
from services.media.recording.codecs import ALAW, ULAW, Resampler, Samples, clock, decoder
from services.media.recording.conversion import Result, SilentError, UnreadableError, Work, convert
from services.media.recording.metadata import Stream
from services.media.recording.worker import answer
from services.media.rtp import Packet
from tests.unit.media.captures import HEADER, record, write

CALLER, CALLEE = 2000, 2020
STREAMS = {CALLER: Stream(channel=0), CALLEE: Stream(channel=1)}


def tone(frequency: float, seconds: float, rate: int = 8000) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * frequency * time)).astype(np.int16)


def speech(
    port: int, frequency: float, seconds: float, start: float, ssrc: int = 1, kind: int = 8
) -> list[tuple[float, int, Packet]]:
    law = "PCMA" if kind == 8 else "PCMU"
    data = g711.encode(tone(frequency, seconds), law).tobytes()
    return [
        (start + n * 0.02, port, Packet(kind, n, n * 160, ssrc, data[n * 160 : n * 160 + 160]))
        for n in range(len(data) // 160)
    ]


def made(tmp_path: Path, packets: list[tuple[float, int, Packet]]) -> tuple[Result, Samples]:
    capture = write(tmp_path / "c.pcap", sorted(packets, key=lambda p: p[0]))
    result = convert(Work(capture=str(capture), wav=str(tmp_path / "c.wav"), streams=STREAMS))
    with wave.open(str(tmp_path / "c.wav")) as file:
        assert file.getframerate() == result.rate
        frames = np.frombuffer(file.readframes(10**9), "<i2").reshape(-1, 2)
    return result, frames


def dominant(samples: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def test_the_callers_tone_is_left_and_the_callees_right(tmp_path: Path) -> None:
    packets = speech(CALLER, 440, 3, 100) + speech(CALLEE, 1000, 2, 101, kind=0)
    result, frames = made(tmp_path, packets)
    assert result.rate == 8000
    assert result.started == pytest.approx(100)
    assert result.duration == pytest.approx(3.0, abs=0.01)
    assert result.bytes == (tmp_path / "c.wav").stat().st_size
    assert dominant(frames[:, 0], 8000) == pytest.approx(440, abs=1)
    assert not frames[:7900, 1].any(), "the callee was silent for a second"
    assert dominant(frames[8000:, 1], 8000) == pytest.approx(1000, abs=1)


def test_loss_is_silence_and_moves_nothing(tmp_path: Path) -> None:
    packets = [p for n, p in enumerate(speech(CALLER, 440, 2, 5)) if n not in range(50, 60)]
    result, frames = made(tmp_path, packets)
    assert result.lost == 10
    assert result.duration == pytest.approx(2.0, abs=0.01)
    assert not frames[8000:9600, 0].any()
    assert np.abs(frames[9600:9680, 0]).max() > 3000


def test_ports_of_nobody_and_rtcp_are_passed_over(tmp_path: Path) -> None:
    packets = speech(CALLER, 440, 1, 1) + speech(3000, 999, 5, 1)
    result, _ = made(tmp_path, packets)
    assert result.duration == pytest.approx(1.0, abs=0.01)


def test_nobody_spoke(tmp_path: Path) -> None:
    with pytest.raises(SilentError):
        made(tmp_path, [])
    with pytest.raises(SilentError):
        made(tmp_path, speech(3000, 440, 1, 1))


def test_a_codec_nobody_here_knows(tmp_path: Path) -> None:
    packets = [(n * 0.02, CALLER, Packet(18, n, n * 160, 1, bytes(20))) for n in range(9)]
    with pytest.raises(UnreadableError, match="G729"):
        made(tmp_path, packets)
    both = packets + speech(CALLEE, 440, 1, 0.0)
    result, frames = made(tmp_path, both)
    assert result.unknown == ("G729/8000",)
    assert not frames[:, 0].any()


def test_the_worker_says_what_became_of_it(tmp_path: Path) -> None:
    def said(capture: Path) -> str:
        work = Work(capture=str(capture), wav=str(tmp_path / "w.wav"), streams=STREAMS)
        return answer(msgspec.json.encode(work)).outcome

    assert said(write(tmp_path / "a", speech(CALLER, 440, 1, 1))) == "converted"
    assert said(write(tmp_path / "b", [])) == "silent"
    (tmp_path / "c").write_bytes(b"no capture at all, but long enough")
    assert said(tmp_path / "c") == "unreadable"
    assert said(tmp_path / "missing") == "later"


def test_memory_does_not_grow_with_the_call(tmp_path: Path) -> None:
    data = g711.encode(tone(440, 0.02), "PCMA").tobytes()

    def minutes() -> Iterator[bytes]:
        yield HEADER
        for n in range(0, 900 * 50, 5):  # every fifth packet: as long, and sooner written
            for port in (CALLER, CALLEE):
                packet = bytes([0x80, 8]) + (n & 0xFFFF).to_bytes(2, "big")
                packet += (n * 160 & 0xFFFFFFFF).to_bytes(4, "big") + port.to_bytes(4, "big")
                yield record(1000 + n * 0.02, port, packet + data)

    capture = tmp_path / "h.pcap"
    with capture.open("wb") as file:
        file.writelines(minutes())
    tracemalloc.start()
    try:
        result = convert(Work(capture=str(capture), wav=str(tmp_path / "h.wav"), streams=STREAMS))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.duration == pytest.approx(900, abs=0.2)
    assert peak < 2 << 20, f"{peak} bytes for a file of {result.bytes}"


def test_g711_tables_are_the_standards() -> None:
    """ITU-T G.711 tables 1 and 2: the largest and the smallest values, and symmetry."""
    assert ULAW.min() == -32124
    assert ULAW.max() == 32124
    assert ALAW.max() == 32256
    assert sorted(set(np.abs(ALAW.astype(int))))[:2] == [8, 24]
    assert (ULAW[:128] == -ULAW[128:]).all()
    for name, table in (("PCMU/8000", ULAW), ("PCMA/8000", ALAW)):
        codes = g711.encode(table, name)
        assert (table[codes] == table).all()


def test_clocks() -> None:
    assert clock("PCMU/8000") == clock("g722/8000") == 8000
    assert clock("OPUS/48000/2") == 48000
    assert clock("L16/16000") == 16000
    assert clock("G729/8000") == clock("") == clock("telephone-event/8000") == 0
    with pytest.raises(ValueError, match="G729"):
        decoder("G729/8000", 8000)


@pytest.mark.parametrize(("up", "down", "source"), [(2, 1, 8000), (1, 3, 48000)])
def test_resampling_keeps_the_tone_and_brings_no_other(up: int, down: int, source: int) -> None:
    resample = Resampler(up, down)
    sound = tone(1000, 1, source)
    chunks = [resample(sound[i : i + source // 50]) for i in range(0, source, source // 50)]
    found = np.concatenate(chunks)
    assert len(found) == 16000
    inner = found[2000:14000].astype(float)
    energy = np.abs(np.fft.rfft(inner * np.hanning(len(inner)))) ** 2
    at = np.fft.rfftfreq(len(inner), 1 / 16000)
    assert energy[np.abs(at - 1000) < 15].sum() / energy.sum() > 0.9999
    assert np.sqrt((inner**2).mean()) == pytest.approx(8000 / np.sqrt(2), rel=0.02)


def test_garbage_for_a_decoder_is_silence() -> None:
    for codec in ("opus/48000/2", "G722/8000", "PCMA/8000"):
        found = decoder(codec, 16000).decode(b"\xff\x00garbage")
        assert found.dtype == np.int16
