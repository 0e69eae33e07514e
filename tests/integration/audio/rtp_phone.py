"""The other side of a leg: real RTP on a loopback address, heard and judged as sound."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import trio
from numpy.typing import NDArray

from services.core.audio import AudioPlane, Codec, Leg, g711
from services.core.audio.keys import Sending
from services.media import rtp

Samples = NDArray[np.int16]
EVENTS = 101
L16 = 96


def payload_type(codec: Codec) -> int:
    return {"PCMU/8000": 0, "PCMA/8000": 8}.get(codec, L16)


def rate_of(codec: Codec) -> int:
    return 16000 if codec == "L16/16000" else 8000


def tone(frequency: float, seconds: float, rate: int = 8000, amplitude: int = 8000) -> Samples:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.int16)


def strength(sound: Samples, frequency: float, rate: int = 8000) -> float:
    """The part of the sound's power that is at ``frequency``, 0 to 1."""
    x = sound.astype(np.float64)
    if not len(x) or not x.any():
        return 0.0
    wave = np.exp(-2j * np.pi * frequency * np.arange(len(x)) / rate)
    return float(2 * np.abs(x @ wave) ** 2 / (len(x) * (x @ x)))


class Phone:
    """Sends and takes RTP on a port of its own."""

    def __init__(self, sock: trio.socket.SocketType, codec: Codec) -> None:
        self.socket = sock
        self.codec: Codec = codec
        self.address, self.port = sock.getsockname()[:2]
        self.target: tuple[str, int] = ("", 0)
        self.packets: list[rtp.Packet] = []
        self.others: list[bytes] = []
        self._heard = trio.Event()
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(16)
        self.timestamp = secrets.randbits(32)

    @property
    def frame(self) -> int:
        return rate_of(self.codec) // 50

    async def listen(self) -> None:
        while True:
            data = await self.socket.recv(2048)
            packet = rtp.parse(data)
            if packet is None:
                self.others.append(data)
            else:
                self.packets.append(packet)
            self._heard.set()

    def encode(self, samples: Samples) -> bytes:
        if self.codec.startswith("L16"):
            return samples.astype(">i2").tobytes()
        return g711.encode(samples, self.codec).tobytes()

    def sound(self, since: int = 0) -> Samples:
        """What was heard from packet ``since`` on, in the order of the sequence numbers."""
        kind = payload_type(self.codec)
        heard = [p for p in self.packets[since:] if p.payload_type == kind]
        base = heard[0].sequence if heard else 0
        heard.sort(key=lambda p: (p.sequence - base + 0x8000) & 0xFFFF)
        data = b"".join(p.payload for p in heard)
        if self.codec.startswith("L16"):
            return np.frombuffer(data, ">i2").astype(np.int16)
        return g711.decode(np.frombuffer(data, np.uint8), self.codec)

    async def hears(self, condition: Callable[[Samples], bool], seconds: float = 5) -> Samples:
        """The sound once ``condition`` holds of it. Raises AssertionError after ``seconds``."""
        with trio.move_on_after(seconds):
            while True:
                heard = self._heard = trio.Event()
                if condition(self.sound()):
                    return self.sound()
                await heard.wait()
        raise AssertionError(f"not heard in {len(self.packets)} packets")

    async def send(self, payload: bytes, kind: int | None = None, marker: bool = False) -> None:
        """One packet, and the clock goes on by a frame."""
        packet = rtp.Packet(
            payload_type(self.codec) if kind is None else kind,
            self.sequence, self.timestamp, self.ssrc, payload, marker,
        )  # fmt: skip
        self.step()
        await self.socket.sendto(rtp.build(packet), self.target)

    def step(self) -> None:
        self.sequence += 1
        self.timestamp = (self.timestamp + self.frame) & 0xFFFFFFFF

    async def speak(self, samples: Samples, lost: Callable[[int], bool] = lambda _: False) -> None:
        """In real time."""
        due = trio.current_time()
        for number, at in enumerate(range(0, len(samples) - self.frame + 1, self.frame)):
            if lost(number):
                self.step()
            else:
                await self.send(self.encode(samples[at : at + self.frame]))
            due += 0.02
            await trio.sleep_until(due)

    def press(self, keys: str, held: int = 5) -> list[bytes]:
        """The datagrams of telephone events, to be sent as somebody likes."""
        made: list[bytes] = []
        for event in Sending(keys, self.frame, held, 3).packets(self.timestamp):
            if event is not None:
                packet = rtp.Packet(
                    EVENTS, self.sequence, event.timestamp, self.ssrc, event.payload, event.marker
                )
                made.append(rtp.build(packet))
                self.sequence += 1
            self.timestamp = (self.timestamp + self.frame) & 0xFFFFFFFF
        return made


@asynccontextmanager
async def phone(address: str, codec: Codec = "PCMU/8000") -> AsyncIterator[Phone]:
    """A phone that listens, on a port that the system chooses."""
    family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((address, 0))
        async with trio.open_nursery() as nursery:
            made = Phone(sock, codec)
            nursery.start_soon(made.listen)
            yield made
            nursery.cancel_scope.cancel()


def connect(plane: AudioPlane, other: Phone, **how: object) -> Leg:
    """A leg of ``plane`` whose other side is the phone."""
    leg = plane.leg()
    arguments: dict[str, object] = {
        "codec": other.codec,
        "payload_type": payload_type(other.codec),
        "events_payload_type": EVENTS,
    }
    leg.connect(other.address, other.port, **(arguments | how))  # pyright: ignore[reportArgumentType]
    other.target = (leg.address, leg.port)
    return leg
