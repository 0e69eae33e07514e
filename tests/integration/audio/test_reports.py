"""RTCP, from one plane to another, and as a phone sees it."""

from __future__ import annotations

import struct

import trio

from services.core.audio import AudioPlane
from tests.integration.audio.rtp_phone import connect, phone, tone


async def test_two_planes_tell_each_other_how_they_hear(network: str) -> None:
    """Both have their reports muxed with the sound here: RFC 5761."""
    async with (
        AudioPlane(f"{network}.1", ports=(30000, 30001), capacity=1) as one,
        AudioPlane(f"{network}.2", ports=(30000, 30001), capacity=1) as two,
    ):
        a, b = one.leg(), two.leg()
        a.connect(b.address, b.port, control_port=b.port)
        b.connect(a.address, a.port, control_port=a.port)
        with trio.fail_after(20):
            while a.quality.round_trip is None or b.quality.round_trip is None:  # noqa: ASYNC110
                await trio.sleep(0.1)
        for leg in (a, b):
            quality = leg.quality
            assert quality.round_trip is not None
            assert 0 <= quality.round_trip < 0.5
            assert quality.remote_lost is not None
            assert quality.remote_lost < 0.1


async def test_a_report_says_what_was_sent_and_heard(plane: AudioPlane, network: str) -> None:
    async with phone(f"{network}.2") as other:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as control:
            await control.bind((f"{network}.2", 0))
            port = control.getsockname()[1]
            with connect(plane, other, control_port=port) as leg, trio.fail_after(15):
                async with trio.open_nursery() as nursery:

                    async def speak() -> None:
                        while True:
                            await other.speak(tone(300, 1), lost=lambda n: n % 10 == 9)

                    nursery.start_soon(speak)
                    report = b""
                    while len(report) < 52 or report[0] & 31 == 0:
                        report, source = await control.recvfrom(2000)
                        assert source == (leg.address, leg.control_port)
                    nursery.cancel_scope.cancel()
        first, kind, words = struct.unpack_from("!BBH", report)
        assert (first, kind, words) == (0x81, 200, 12)
        ssrc, _, _, stamp, packets, octets = struct.unpack_from("!IIIIII", report, 4)
        assert ssrc == other.packets[0].ssrc
        assert any(abs((p.timestamp - stamp + 160) % 2**32 - 160) <= 160 for p in other.packets)
        assert octets == packets * 160
        theirs, lost, highest = struct.unpack_from("!III", report, 28)
        assert theirs == other.ssrc
        assert (other.sequence - highest) & 0xFFFF < 100
        assert lost & 0xFFFFFF > 0
        assert report[53] == 202
