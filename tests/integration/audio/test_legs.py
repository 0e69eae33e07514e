"""What a leg sends, hears and tells of."""

from __future__ import annotations

import itertools
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import trio

from services.core.audio import (
    AudioError,
    AudioPlane,
    CapacityError,
    ClipError,
    Digit,
    HeardAgain,
    Unheard,
    g711,
)
from services.core.audio.keys import KEYS
from services.core.failover import clock
from services.media import rtp
from tests.integration.audio.rtp_phone import EVENTS, connect, phone, strength, tone


@pytest.mark.parametrize("codec", ["PCMU/8000", "PCMA/8000"])
async def test_a_clip_is_heard_exactly(plane: AudioPlane, network: str, codec: str) -> None:
    said = tone(440, 1.0)
    async with phone(f"{network}.2", codec) as other:  # pyright: ignore[reportArgumentType]
        with connect(plane, other) as leg:
            played = await leg.play(plane.clip(said))
            assert (played.whole, played.position) == (True, 8000)
            expected = g711.decode(g711.encode(said, codec), codec)
            await other.hears(lambda sound: expected.tobytes() in sound.tobytes())
            sequences = [packet.sequence for packet in other.packets]
            stamps = [packet.timestamp for packet in other.packets]
            assert {(b - a) & 0xFFFF for a, b in itertools.pairwise(sequences)} == {1}
            assert {(b - a) % 2**32 for a, b in itertools.pairwise(stamps)} == {160}
            assert len({packet.ssrc for packet in other.packets}) == 1
            assert [packet.marker for packet in other.packets[:3]] == [True, False, False]


async def test_another_server_goes_on_where_it_was(plane: AudioPlane, network: str) -> None:
    said = np.arange(8000, dtype=np.int16)  # each sample tells where it is
    async with phone(f"{network}.2") as other, phone(f"{network}.3") as again:
        with connect(plane, other) as leg:
            clips = [plane.clip(said[:4000]), plane.clip(said[4000:])]
            playback = leg.play(clips)
            await other.hears(lambda sound: len(sound) >= 3200)
            playback.stop()
            played = await playback
            assert not played.whole
            assert 2400 <= played.position == playback.position < 8000
        with connect(plane, again) as leg:
            assert (await leg.play(clips, position=played.position)).whole
            rest = g711.decode(g711.encode(said[played.position :], "PCMU"), "PCMU")
            await again.hears(lambda sound: rest.tobytes() in sound.tobytes())


async def test_a_loop_goes_round_and_is_silent_when_stopped(
    plane: AudioPlane, network: str
) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            playback = leg.play([plane.clip(tone(400, 0.1)), plane.clip(tone(800, 0.1))], loop=True)
            sound = await other.hears(lambda sound: len(sound) > 8000)
            first = np.flatnonzero(sound)[0] // 160 * 160
            for at in range(first, len(sound) - 800, 1600):
                assert strength(sound[at : at + 800], 400) > 0.9
            leg.stop()
            assert not (await playback).whole
            count = len(other.packets) + 2
            await other.hears(lambda _: len(other.packets) >= count + 10)
            assert not other.sound(count).any()


async def test_on_hold_it_stands_still(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            playback = leg.play(plane.clip(tone(400, 3)), gain=0.5)
            sound = await other.hears(lambda sound: len(sound) > 3000)
            assert 3500 < np.abs(sound.astype(int)).max() < 4200
            leg.connect(other.address, other.port, send=False)
            await trio.sleep(0.1)
            held, heard = playback.position, len(other.packets)
            await trio.sleep(0.2)
            assert (playback.position, len(other.packets)) == (held, heard)
            leg.connect(other.address, other.port)
            await other.hears(lambda _: len(other.packets) > heard)
            assert playback.position >= held


async def test_all_keys_through_loss_and_jitter(plane: AudioPlane, network: str) -> None:
    rng = random.Random(4733)  # noqa: S311 - chance for a test
    async with phone(f"{network}.2") as other, trio.open_nursery() as nursery:
        with connect(plane, other) as leg:

            async def late(delay: float, datagram: bytes) -> None:
                await trio.sleep(delay)
                await other.socket.sendto(datagram, other.target)

            at = 0.0
            for key in KEYS:
                for datagram in other.press(key):
                    if rng.random() > 0.02:
                        nursery.start_soon(late, at + rng.random() * 0.05, datagram)
                    at += 0.02
                at += 0.06
            heard = [await leg.next_event() for _ in KEYS]
            assert [event.digit for event in heard if isinstance(event, Digit)] == list(KEYS)


async def test_keys_are_sent(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other, phone(f"{network}.3") as third:
        with connect(plane, other) as leg, connect(plane, third) as heard:
            await leg.send_keys("1#", held=0.06, gap=0.06)
            events = [p for p in other.packets if p.payload_type == EVENTS]
            assert [p.payload[0] for p in events] == [1] * 5 + [11] * 5
            assert [p.marker for p in events] == [True, False, False, False, False] * 2
            for packet in events:  # and one of ours takes them
                await third.socket.sendto(rtp.build(packet), (heard.address, heard.port))
            for key in "1#":
                event = await heard.next_event()
                assert isinstance(event, Digit)
                assert event.digit == key


async def test_bad_packets_change_nothing(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other, phone(f"{network}.3") as stranger:
        with connect(plane, other) as leg:
            stranger.target = other.target
            (good, *_) = other.press("7")
            bad = [
                b"", b"\x80", good[:11], b"\x40" + good[1:], b"\x00" * 100, b"\xff" * 1500,
                good + bytes(20000), bytes([0x8F]) + good[1:], bytes([0x90]) + good[1:12],
                bytes([0xA0]) + good[1:-1] + b"\xff", bytes([0x80, 77]) + good[2:],
                good[:12] + b"\xff\x00\x00\x00", good[:13], struct.pack("!BBH", 0x80, 200, 6),
            ]  # fmt: skip
            for datagram in bad:
                await other.socket.sendto(datagram, other.target)
            await stranger.socket.sendto(good, other.target)
            await other.socket.sendto(other.press("5")[0], other.target)
            event = await leg.next_event()
            assert isinstance(event, Digit)
            assert event.digit == "5"
            assert leg.play(plane.clip(tone(440, 0.2))) is not None
            await other.hears(lambda sound: strength(sound[-800:], 440) > 0.9)


async def test_a_new_stream_of_the_same_other_side(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            await other.speak(tone(300, 0.2))
            other.ssrc, other.sequence = other.ssrc ^ 1, other.sequence + 30000
            await other.speak(tone(300, 0.2))
            for datagram in other.press("9"):
                await other.socket.sendto(datagram, other.target)
            event = await leg.next_event()
            assert isinstance(event, Digit)
            quality = leg.quality
            assert quality.lost == 0
            assert quality.received >= 10 + 9 + 1, "one packet is spent on being sure"


async def test_silence_of_the_other_side_is_told_and_its_end(
    plane: AudioPlane, network: str
) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other, timeout=0.3) as leg:
            await other.speak(tone(300, 0.1))
            event = await leg.next_event()
            assert isinstance(event, Unheard)
            assert 0.3 <= event.seconds < 1
            await other.speak(tone(300, 0.1))
            assert isinstance(await leg.next_event(), HeardAgain)


async def test_nobody_there_does_no_harm(plane: AudioPlane, network: str) -> None:
    """Packets that come back as ICMP errors, and a network that cannot be reached."""
    async with phone(f"{network}.2") as other:
        with plane.leg() as gone, plane.leg() as far, connect(plane, other) as leg:
            gone.connect(f"{network}.9", 9)
            far.connect("255.255.255.255", 4000)
            for one in (gone, far):
                one.play(plane.clip(tone(300, 1)))
            assert (await leg.play(plane.clip(tone(440, 0.5)))).whole
            await other.hears(lambda sound: strength(sound[-1600:], 440) > 0.5)


async def test_a_file_is_decoded_once(plane: AudioPlane, network: str, tmp_path: Path) -> None:
    import av

    path = tmp_path / "tone.opus"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            tone(440, 1, 48000).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    clip = await plane.load(path)
    assert await plane.load(path) is clip
    assert clip.seconds == pytest.approx(1, abs=0.03)
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            await leg.play(clip)
            await other.hears(lambda sound: strength(sound[2000:6000], 440) > 0.95)
    (tmp_path / "text.wav").write_text("no sound")
    for name in ("text.wav", "absent.wav"):
        with pytest.raises(ClipError, match=name):
            await plane.load(tmp_path / name)
    clip.close()
    assert await plane.load(path) is not clip


async def test_what_cannot_be_is_refused(plane: AudioPlane, network: str) -> None:
    with plane.leg() as leg, plane.leg(codec="L16/8000") as linear:
        for address, port, how in (
            ("host", 1, {}), ("::1", 1, {}), (f"{network}.9", 70000, {}),
            (f"{network}.9", 9, {"codec": "G729/8000"}), (f"{network}.9", 9, {"payload_type": 72}),
        ):  # fmt: skip
            with pytest.raises(ValueError):
                leg.connect(address, port, **how)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="payload_type"):
            linear.connect(f"{network}.9", 9)
        with pytest.raises(ValueError):
            leg.send_keys("12x")
        with pytest.raises(ValueError):
            leg.play([])
    with pytest.raises(ValueError, match="ended"):
        leg.play(plane.clip(tone(300, 1)))


async def test_capacity_is_given_back(network: str) -> None:
    async with AudioPlane(f"{network}.1", ports=(30010, 30011), capacity=2) as plane:
        legs = [plane.leg(), plane.leg()]
        with pytest.raises(CapacityError):
            plane.leg()
        legs[0].connect(f"{network}.9", 4000)
        with pytest.raises(ValueError, match="same other side"):
            legs[1].connect(f"{network}.9", 4000)
        legs[0].close()
        legs[1].connect(f"{network}.9", 4000)
        with plane.leg():
            assert plane.legs == 2


async def test_ports_that_are_taken_are_passed_over(network: str) -> None:
    async with AudioPlane(f"{network}.1", ports=(30000, 30003), capacity=2) as first:
        assert first.ports == [30000, 30002]
        with pytest.raises(AudioError, match=f"{network}.1:30002"):
            async with AudioPlane(f"{network}.1", ports=(30000, 30003), capacity=2):
                pass
        async with AudioPlane(f"{network}.1", ports=(30001, 30005), capacity=2) as second:
            assert second.ports == [30004]


async def test_a_process_that_dies_ends_the_block(network: str) -> None:
    async def lose() -> None:
        async with AudioPlane(f"{network}.1", ports=(30000, 30001), capacity=2) as plane:
            playback = plane.leg().play(plane.clip(tone(300, 1)))
            os.kill(plane.pid, 9)
            await playback
            await trio.sleep_forever()

    with pytest.raises(AudioError, match="-9"):
        await lose()


async def test_what_the_block_raises_comes_out_as_it_is(network: str) -> None:
    with pytest.raises(KeyError):
        async with AudioPlane(f"{network}.1", ports=(30000, 30001), capacity=2):
            raise KeyError


async def test_who_is_not_allowed_to_speak_is_silent(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with connect(plane, other) as leg:
            leg.play(plane.clip(tone(440, 1.0)), loop=True)
            await other.hears(lambda sound: len(sound) > 800)
            plane.speak_until(clock.now())
            await trio.sleep(0.1)
            before = len(other.packets)
            await trio.sleep(0.3)
            assert len(other.packets) == before
            plane.speak_until(clock.now() + 60)
            await other.hears(lambda sound: len(sound) > 160 * before + 800)
            plane.speak_until(0)
