"""Rooms, recordings and what is heard of speech, with real RTP and judged as sound."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio

from pbxctl.probe.audio import read_wav
from services.core.audio import (
    AudioPlane,
    CapacityError,
    Codec,
    Digit,
    Leg,
    Recorded,
    Speech,
)
from services.core.audio.engine.dtmf import HIGH, LOW
from tests.integration.audio.rtp_phone import (
    Phone,
    Samples,
    connect,
    phone,
    rate_of,
    strength,
    tone,
)

TONES = (500, 700, 1100, 1700)
ULAW: Codec = "PCMU/8000"
ALAW: Codec = "PCMA/8000"


@pytest.fixture
async def wide(network: str) -> AsyncIterator[AudioPlane]:
    async with AudioPlane(f"{network}.1", ports=(30100, 30107), capacity=64, rate=16000) as running:
        yield running


class Party:
    """A phone that says one tone all the time, and its leg."""

    def __init__(self, other: Phone, leg: Leg, frequency: int) -> None:
        self.phone = other
        self.leg = leg
        self.frequency = frequency

    async def speak(self) -> None:
        said = tone(self.frequency, 1, rate_of(self.phone.codec), 5000)
        while True:
            await self.phone.speak(said)

    def heard(self) -> dict[int, float]:
        """The part of each tone in the last 0.2 s."""
        rate = rate_of(self.phone.codec)
        sound = self.phone.sound()[-rate // 5 :]
        return {f: strength(sound, f, rate) for f in TONES}

    async def hears_only(self, *frequencies: int) -> None:
        def only(_: Samples) -> bool:
            found = self.heard()
            parts = sum(found[f] for f in frequencies)
            fair = all(found[f] > 0.5 / len(frequencies) for f in frequencies)
            silent = bool((np.abs(self.phone.sound()[-1600:]) <= 8).all())  # the least of A-law
            return silent if not frequencies else parts > 0.95 and fair

        await self.phone.hears(only)


@asynccontextmanager
async def company(
    plane: AudioPlane, network: str, *codecs: Codec
) -> AsyncGenerator[list[Party], None]:
    """Parties that all speak."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        made: list[Party] = []
        for number, (frequency, codec) in enumerate(zip(TONES, codecs, strict=False), 10):
            other = await stack.enter_async_context(phone(f"{network}.{number}", codec))
            made.append(Party(other, connect(plane, other), frequency))
            nursery.start_soon(made[-1].speak)
        yield made
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_each_hears_the_others_in_any_codec(network: str, rate: int) -> None:
    codecs: list[Codec] = ["PCMU/8000", "PCMA/8000", "L16/8000", "L16/16000"]
    async with (
        AudioPlane(f"{network}.1", ports=(30200, 30203), capacity=9, rate=rate) as plane,
        company(plane, network, *codecs) as all_of_them,
    ):
        with plane.room() as room:
            for one in all_of_them:
                room.add(one.leg)
            for one in all_of_them:
                await one.hears_only(*(f for f in TONES if f != one.frequency))


async def test_muted_deaf_gone_and_played_to(plane: AudioPlane, network: str) -> None:
    async with company(plane, network, ALAW, ALAW, ALAW) as (a, b, c):
        with plane.room() as room:
            for one in (a, b, c):
                room.add(one.leg)
            await a.hears_only(700, 1100)
            b.leg.mute()
            await a.hears_only(1100)
            await b.hears_only(500, 1100)
            b.leg.mute(False)
            c.leg.deafen()
            await c.hears_only()
            await a.hears_only(700, 1100)
            c.leg.deafen(False)
            mine = a.leg.play(plane.clip(tone(1700, 5)), gain=0.6)
            await a.hears_only(700, 1100, 1700)
            await b.hears_only(500, 1100)
            mine.stop()
            await mine
            for_all = room.play(plane.clip(tone(1700, 5, 8000, 5000)))
            await b.hears_only(500, 1100, 1700)
            await a.hears_only(700, 1100, 1700)
            for_all.stop()
            await for_all
            levels = room.levels()
            assert {leg for leg, _ in levels} == room.legs == {a.leg, b.leg, c.leg}
            assert all(-22 < level < -17 for _, level in levels)
            room.remove(c.leg)
            await a.hears_only(700)
            await c.hears_only()
            a.leg.close()
            await b.hears_only()
            assert room.legs == {b.leg}
        assert b.leg.room is None


async def test_from_one_room_into_another(plane: AudioPlane, network: str) -> None:
    async with company(plane, network, ULAW, ULAW, ULAW) as (a, b, c):
        with plane.room() as first, plane.room() as second:
            first.add(a.leg)
            first.add(b.leg)
            second.add(c.leg)
            await a.hears_only(700)
            second.add(b.leg)
            assert first.legs == {a.leg}
            await b.hears_only(1100)
            await a.hears_only()


async def test_only_the_loudest_are_heard(plane: AudioPlane, network: str) -> None:
    async with (
        company(plane, network, ULAW, ULAW, ULAW) as (a, b, c),
        phone(f"{network}.9") as listener,
    ):
        with plane.room(speakers=2) as room:
            for leg in (a.leg, b.leg, connect(plane, listener)):
                room.add(leg)
            one = Party(listener, a.leg, 0)
            await one.hears_only(500, 700)
            await a.hears_only(700)
            room.add(c.leg)
            for count in range(len(listener.packets), len(listener.packets) + 20):
                assert one.heard()[1100] < 0.05, "who speaks already is not interrupted"
                await listener.hears(lambda _, n=count: len(listener.packets) > n)
            a.leg.mute()
            await one.hears_only(700, 1100)


async def test_a_recording_is_what_was_said(
    plane: AudioPlane, network: str, tmp_path: Path
) -> None:
    path = tmp_path / "said.wav"
    async with phone(f"{network}.2", "PCMA/8000") as other:
        with connect(plane, other) as leg:
            recording = leg.record(path)
            said = tone(440, 1.0)
            await other.speak(said)
            await other.speak(np.zeros(1600, np.int16))
            recording.stop()
            recorded = await recording
            assert (recorded.ended, recorded.problem) == ("stopped", "")
            (sound,), rate = read_wav(path)
            assert rate == 8000
            assert len(sound) / rate == pytest.approx(recorded.seconds)
            loud = np.flatnonzero(np.abs(sound) > 0.01)
            heard = sound[loud[0] : loud[0] + 7500]
            assert strength((heard * 32767).astype(np.int16), 440) > 0.99
            assert leg.quality.concealed < 40
            assert not list(tmp_path.glob("*.part"))  # noqa: ASYNC240 - a test


async def test_recordings_end_by_limit_silence_hang_up_and_failure(
    plane: AudioPlane, network: str, tmp_path: Path
) -> None:
    async with phone(f"{network}.2") as other, phone(f"{network}.3") as third:
        with connect(plane, other) as leg, connect(plane, third) as gone:
            limited = await leg.record(tmp_path / "limit.wav", limit=0.3)
            assert (limited.ended, limited.seconds) == ("limit", pytest.approx(0.3))
            silent = leg.record(tmp_path / "silence.wav", silence=0.6)
            rng = np.random.default_rng(1)
            await other.speak(rng.normal(0, 3000, 8000).astype(np.int16))
            ended = await silent
            assert ended.ended == "silence"
            assert 1.5 < ended.seconds < 3
            replaced = leg.record(tmp_path / "one.wav")
            again = leg.record(tmp_path / "two.wav")
            assert (await replaced).ended == "stopped"
            failed = await gone.record(tmp_path / "no" / "where.wav")
            assert failed.ended == "failed"
            assert "where.wav" in failed.problem
            last = gone.record(tmp_path / "last.wav")
            gone.close()
            assert (await last).ended == "closed"
            leg.close()
            assert (await again).ended == "closed"
            names = [p.name for p in tmp_path.iterdir()]  # noqa: ASYNC240 - a test
            assert sorted(names) == [
                "last.wav", "limit.wav", "one.wav", "silence.wav", "two.wav",
            ]  # fmt: skip


async def test_a_room_is_recorded_until_the_plane_ends(network: str, tmp_path: Path) -> None:
    path = tmp_path / "room.wav"
    async with (
        AudioPlane(f"{network}.1", ports=(30300, 30301), capacity=4) as plane,
        company(plane, network, ULAW, ULAW) as (a, b),
    ):
        room = plane.room()
        room.add(a.leg)
        room.add(b.leg)
        await a.hears_only(700)
        recording = room.record(path)
        room.play(plane.clip(tone(1700, 5, 8000, 5000)))
        await b.hears_only(500, 1700)
        await trio.sleep(0.5)
    recorded: Recorded = await recording
    assert recorded.ended == "closed"
    (sound,), _ = read_wav(path)
    part = (sound[-3200:-800] * 32767).astype(np.int16)
    assert all(strength(part, f) > 0.2 for f in (500, 700, 1700))


async def test_speech_is_told(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            leg.watch_speech()
            rng = np.random.default_rng(1)
            await other.speak(np.zeros(3200, np.int16))
            begun = time.monotonic()
            await other.speak(rng.normal(0, 3000, 4800).astype(np.int16))
            await other.speak(np.zeros(8000, np.int16))
            first, second = await leg.next_event(), await leg.next_event()
            assert isinstance(first, Speech)
            assert isinstance(second, Speech)
            assert (first.speaking, second.speaking) == (True, False)
            assert begun <= first.time < second.time
            assert leg.level == pytest.approx(-127, abs=60)


def dual(key: str, seconds: float) -> Samples:
    row, column = divmod("123A456B789C*0#D".index(key), 4)
    return tone(LOW[row], seconds) + tone(HIGH[column], seconds)


async def test_keys_as_tones_and_never_twice(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other, phone(f"{network}.3") as third:
        pause = np.zeros(800, np.int16)
        with connect(plane, other, events_payload_type=None) as leg:
            await other.speak(np.concatenate([x for k in "159D" for x in (dual(k, 0.1), pause)]))
            heard = [await leg.next_event() for _ in range(4)]
            assert [(e.digit, e.in_band) for e in heard if isinstance(e, Digit)] == [
                ("1", True), ("5", True), ("9", True), ("D", True),
            ]  # fmt: skip
            with pytest.raises(ValueError, match="no telephone events"):
                leg.send_keys("1")
        with connect(plane, third, in_band_digits=True) as both:
            await third.speak(pause)
            for key in "73":  # a gateway that sends the tone, and the event for the same press
                await third.speak(dual(key, 0.06))
                for datagram in third.press(key, held=3):
                    await third.socket.sendto(datagram, third.target)
                    await trio.sleep(0.02)
                await third.speak(np.concatenate([dual(key, 0.06), pause]))
            await third.speak(pause)
            for datagram in third.press("0"):
                await third.socket.sendto(datagram, third.target)
            digits: list[str] = []
            while "0" not in digits:
                event = await both.next_event()
                assert isinstance(event, Digit)
                digits.append(event.digit)
            assert digits == ["7", "3", "0"]


async def test_loss_is_concealed_and_counted(
    plane: AudioPlane, network: str, tmp_path: Path
) -> None:
    path = tmp_path / "lossy.wav"
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            recording = leg.record(path)
            await other.speak(tone(400, 2.0), lost=lambda n: n in (20, 40, 41, 60))
            recording.stop()
            await recording
            quality = leg.quality
            assert quality.lost == 4
            assert quality.received == 96
            (sound,), _ = read_wav(path)
            loud = np.flatnonzero(np.abs(sound) > 0.01)
            heard = (sound[loud[0] : loud[0] + 15000] * 32767).astype(np.int16)
            assert strength(heard, 400) > 0.9
            gaps = np.abs(heard.reshape(-1, 100).astype(int)).max(axis=1)
            assert gaps.min() > 1000, "nowhere is it silent"


async def test_comfort_noise_in_place_of_silence(plane: AudioPlane, network: str) -> None:
    def level(sound: Samples) -> float:
        power = (sound[-1600:].astype(float) ** 2).mean()
        return 10 * np.log10(power / 32768**2 + 1e-13)

    near: Callable[[Samples], bool] = lambda s: len(s) > 1600 and abs(level(s) + 55) < 2  # noqa: E731
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            leg.comfort_noise(-55)
            await other.hears(near)
            await leg.play(plane.clip(tone(440, 0.3)))
            await other.hears(lambda s: strength(s[-800:], 440) > 0.9)
            await other.hears(near)
            leg.comfort_noise(None)
            await other.hears(lambda s: not s[-1600:].any())
            with pytest.raises(ValueError, match="dBov"):
                leg.comfort_noise(5)


async def test_rooms_are_given_back(network: str) -> None:
    async with AudioPlane(f"{network}.1", ports=(30000, 30001), capacity=1) as plane:
        with plane.room() as room, pytest.raises(CapacityError):
            plane.room()
        with plane.room() as another, plane.leg() as leg:
            with pytest.raises(ValueError, match="ended"):
                room.add(leg)
            another.add(leg)
        with pytest.raises(ValueError, match="speakers"):
            plane.room(speakers=0)


async def test_a_wide_plane_plays_to_narrow_legs(wide: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as narrow, phone(f"{network}.3", "L16/16000") as broad:
        with connect(wide, narrow) as first, connect(wide, broad) as second:
            clip = wide.clip(tone(1000, 0.5, 16000) + tone(6000, 0.5, 16000))
            first.play(clip)
            await second.play(clip)
            await narrow.hears(lambda s: strength(s[-1600:], 1000) > 0.95)
            await broad.hears(
                lambda s: min(strength(s[-3200:], f, 16000) for f in (1000, 6000)) > 0.4
            )
