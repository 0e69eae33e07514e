"""Addresses of the other kind, figures, noise from afar, many legs at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from pbxctl.probe.audio import read_wav
from services.core.audio import AudioPlane, ClipError, Digit, tones
from services.core.audio.board import DROPPED
from tests.integration.audio.rtp_phone import connect, phone, strength, tone


async def test_ipv6() -> None:
    async with (
        AudioPlane("::1", ports=(34500, 34999), capacity=3) as plane,
        phone("::1") as other,
        phone("::1") as stranger,
    ):
        with connect(plane, other) as leg, plane.leg() as wrong:
            with pytest.raises(ValueError, match="address family"):
                wrong.connect("127.0.0.1", 9)
            stranger.target = other.target
            for datagram in stranger.press("1"):
                await stranger.socket.sendto(datagram, stranger.target)
            for datagram in other.press("2"):
                await other.socket.sendto(datagram, other.target)
            event = await leg.next_event()
            assert isinstance(event, Digit)
            assert event.digit == "2"
            assert (await leg.play(plane.clip(tone(440, 0.3)))).whole
            await other.hears(lambda s: strength(s[-1600:], 440) > 0.9)


async def test_figures(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            plane.metrics()
            await leg.play(plane.clip(tone(440, 0.5)))
            await other.socket.sendto(b"x", other.target)
            await other.send(bytes(160), kind=77)
            async with phone(f"{network}.3") as stranger:
                stranger.target = other.target
                await stranger.send(bytes(160))
            count = len(other.packets) + 3
            await other.hears(lambda _: len(other.packets) > count)
            found = {name: value for name, (value, _) in plane.metrics().items()}
            assert found["pbx_audio_legs"] == 1
            assert 25 <= found["pbx_audio_frames_total"] < 500
            assert found["pbx_audio_packets_out_total"] >= 25
            assert found["pbx_audio_packets_in_total"] == 3
            assert 0 < found["pbx_audio_late_seconds"] < 0.05
            assert found["pbx_audio_busy_seconds_total"] > 0
            for reason in DROPPED[:3]:
                assert found[f"pbx_audio_dropped_{reason}_total"] == 1


async def test_tones_and_the_beep(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            busy = plane.tone("busy", tones.country("de"))
            assert plane.tone("busy", "de") is busy
            leg.play(busy, loop=True)
            await other.hears(lambda s: strength(s[-3000:], 425) > 0.4)
            await leg.play(plane.beep())
            await other.hears(lambda s: strength(s[-1600:], 1000) > 0.5)


async def test_comfort_noise_of_the_other_side(
    plane: AudioPlane, network: str, tmp_path: Path
) -> None:
    """RFC 3389: it sends one packet, and silence after it."""
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            recording = leg.record(tmp_path / "noise.wav", limit=1.0)
            await other.speak(tone(300, 0.2))
            await other.send(bytes([40]), kind=13)
            await recording
            (sound,), _ = read_wav(tmp_path / "noise.wav")
            last = sound[-2400:]
            assert 10 * np.log10((last**2).mean()) == pytest.approx(-40, abs=1)
            assert leg.quality.lost == 0


async def test_a_clip_that_was_closed_is_played_to_its_end(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            clip = plane.clip(tone(440, 0.6))
            playback = leg.play(clip)
            clip.close()
            for _ in range(20):
                plane.clip(tone(900, 0.6)).close()
            assert (await playback).whole
            await other.hears(lambda s: strength(s[-3200:], 440) > 0.6)
            with pytest.raises(ClipError, match="was closed"):
                leg.play(clip)


async def test_many_legs_come_and_go(network: str) -> None:
    """Rows are used again, and nothing of the leg before is left in them."""
    async with (
        AudioPlane(f"{network}.1", ports=(30000, 30007), capacity=8) as plane,
        trio.open_nursery() as nursery,
    ):
        clips = {f: plane.clip(tone(f, 0.2)) for f in (500, 900, 1300)}

        async def call(number: int) -> None:
            frequency = (500, 900, 1300)[number % 3]
            async with phone(f"{network}.{number + 2}") as other:
                for turn in range(6):
                    with connect(plane, other) as leg:
                        if turn % 2:
                            leg.mute()
                        begun = len(other.packets)
                        assert (await leg.play(clips[frequency])).whole
                        sound = other.sound(begun)
                        loud = sound[np.abs(sound) > 500]
                        assert len(loud) > 1000
                        assert strength(sound[np.flatnonzero(sound)[0] :][:1400], frequency) > 0.9
                        assert leg.quality.received == 0

        for number in range(8):
            nursery.start_soon(call, number)
