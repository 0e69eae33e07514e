"""The audio plane: legs a core, beside Janus' AudioBridge; lateness, keys and quality."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import trio

from bench.janus import ADDRESS, janus, opus
from bench.processes import TICK
from bench.results import Table
from bench.rtp_load import Done, Work
from services.core.audio import AudioPlane, Digit, Leg, g711, sound, tones
from services.core.audio.keys import KEYS
from services.core.audio.metrics import percentile
from tests.integration.audio.rtp_phone import connect, phone
from tests.support.hosts import loopback_network

SECONDS = float(os.environ.get("PBX_BENCH_AUDIO_SECONDS", "8"))
WARM_UP = 3.0
LOAD_PORT = 7000
PEER_LEGS = int(os.environ.get("PBX_BENCH_JANUS_LEGS", "90"))
GOALS = {"playing prompts": 3500, "in rooms of 3": 3500, "in rooms of 200": 3000}
ROOMS = {"playing prompts": 1, "in rooms of 3": 3, "in rooms of 200": 200}
SPEAKERS = 3
COMPLETE = 0.995
"""Part of all packets that have to come, or a plane has not carried what it was given."""
VOICES = Path("/usr/share/sounds/alsa")
KEY_LEGS = 50
LOSS, JITTER = 0.02, 0.05


class Measured(msgspec.Struct):
    """``cpu``: cores that were used. ``late``: 99th percentile of how late frames began."""

    done: Done
    cpu: float
    late: float


def run() -> list[Table]:
    table = Table("Audio plane")
    for kind, goal in GOALS.items():
        peer = _peer(kind)
        full = trio.run(_ours, kind, goal)
        half = trio.run(_ours, kind, goal // 2)
        _report(table, kind, goal, full, half, peer)
    heard, sent = trio.run(_keys)
    table.add(
        f"keys heard with {LOSS:.0%} loss and {JITTER * 1000:.0f} ms jitter",
        f"{heard} of {sent}",
        goal="all",
        met=heard == sent,
    )
    _quality(table)
    return [table]


def _report(
    table: Table, kind: str, goal: int, full: Measured, half: Measured, peer: Measured
) -> None:
    # Phones that could not speak in time have not loaded it: that says nothing.
    complete = min(full.done.mean, full.done.sent) >= 50 * COMPLETE
    legs = goal / full.cpu
    theirs = PEER_LEGS / peer.cpu
    table.add(
        f"legs a core {kind}",
        f"{legs:.0f} ({goal} legs, {full.cpu:.2f} cores, {full.done.sent:.1f} packets/s in, "
        f"{full.done.mean:.1f} out each)",
        peer=f"{theirs:.0f}, Janus AudioBridge ({PEER_LEGS} legs, {peer.done.mean:.1f} packets/s)",
        ratio=legs / theirs,
        goal=f"{goal}",
        met=legs >= goal and complete,
    )
    table.add(
        f"p99 of a frame's lateness, {goal // 2} legs {kind}",
        f"{half.late * 1000:.1f} ms (as it arrives: {half.done.gap * 1000:.1f} ms off 20 ms)",
        peer=f"{peer.done.gap * 1000:.1f} ms off, Janus",
        goal="5 ms",
        met=half.late < 0.005,
    )


@asynccontextmanager
async def _load(phones: list[tuple[str, str, int]]) -> AsyncIterator[Callable[[], Done]]:
    """Phones that speak; the call waits until they are through."""
    work = Work(port=LOAD_PORT, phones=phones, seconds=SECONDS, warm_up=WARM_UP)
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        [sys.executable, "-m", "bench.rtp_load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin
        assert process.stdout
        output = process.stdout
        process.stdin.write(msgspec.json.encode(work) + b"\n")
        process.stdin.flush()
        yield lambda: msgspec.json.decode(output.readline(), type=Done)
    finally:
        process.kill()
        process.communicate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _own(network: str, number: int) -> str:
    """A phone's address, in the network of the benchmark and those after it."""
    first, second, third = (int(part) for part in network.split("."))
    value = (second << 16 | third << 8) + 256 + number
    return f"{first}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


async def _ours(kind: str, count: int) -> Measured:
    size = ROOMS[kind]
    with loopback_network() as network:
        address = f"{network}.1"
        async with AudioPlane(address, ports=(30000, 30007), capacity=count) as plane:
            prompt = plane.clip(np.tile(tones.tone("busy", "us"), 10))
            legs: list[Leg] = []
            for number in range(count):
                leg = plane.leg()
                leg.connect(_own(network, number), LOAD_PORT)
                legs.append(leg)
                if size == 1:
                    leg.play(prompt, position=number * 160 * 7, loop=True)
            for at in range(0, count, size) if size > 1 else ():
                room = plane.room(speakers=SPEAKERS if size > SPEAKERS else None)
                for leg in legs[at : at + size]:
                    room.add(leg)
            phones = [(_own(network, n), address, leg.port) for n, leg in enumerate(legs)]
            async with _load(phones) as wait:
                await trio.sleep(WARM_UP)
                before, lateness = _cpu(plane.pid), plane.board.lateness.copy()
                start = time.monotonic()
                await trio.sleep(SECONDS - 0.5)
                used = (_cpu(plane.pid) - before) / (time.monotonic() - start)
                late = percentile(plane.board.lateness - lateness, 0.99)
                done = await trio.to_thread.run_sync(wait)
    return Measured(done, used, late)


def _peer(kind: str) -> Measured:
    size = min(ROOMS[kind], PEER_LEGS)

    async def measure() -> Measured:
        async with _load(phones) as wait:
            await trio.sleep(WARM_UP)
            before, start = running.engine.cpu(), time.monotonic()
            await trio.sleep(SECONDS - 0.5)
            used = (running.engine.cpu() - before) / (time.monotonic() - start)
            return Measured(await trio.to_thread.run_sync(wait), used, 0.0)

    with (
        loopback_network() as network,
        tempfile.TemporaryDirectory(prefix="pbxb") as name,
        janus() as running,
    ):
        file = opus(Path(name) / "prompt.opus") if kind == "playing prompts" else None
        phones: list[tuple[str, str, int]] = []
        for number in range(PEER_LEGS):
            room = 1 + number // size
            if number % size == 0:
                running.room(room, file)
            own = _own(network, number)
            phones.append((own, ADDRESS, running.join(room, own, LOAD_PORT)))
        return trio.run(measure)


async def _keys() -> tuple[int, int]:
    """Keys that were heard right, and keys that were pressed."""
    rng = random.Random(4733)
    right = 0

    async def press(plane: AudioPlane, address: str, keys: str) -> None:
        nonlocal right

        async def later(delay: float, datagram: bytes) -> None:
            await trio.sleep(delay)
            await other.socket.sendto(datagram, other.target)

        async with phone(address) as other, trio.open_nursery() as nursery:
            with connect(plane, other) as leg:
                at = 0.0
                for key in keys:
                    for datagram in other.press(key, held=4):
                        if rng.random() >= LOSS:
                            nursery.start_soon(later, at + rng.random() * JITTER, datagram)
                        at += 0.02
                    at += 0.06
                heard = ""
                with trio.move_on_after(at + 30):  # for a machine that is behind with its timers
                    while len(heard) < len(keys):
                        event = await leg.next_event()
                        heard += event.digit if isinstance(event, Digit) else ""
                right += sum(a == b for a, b in zip(heard, keys, strict=False))
                if heard != keys:
                    print(f"  pressed {keys}, heard {heard}")

    with loopback_network() as network:
        async with (
            AudioPlane(f"{network}.1", ports=(30000, 30007), capacity=KEY_LEGS) as plane,
            trio.open_nursery() as nursery,
        ):
            for number in range(KEY_LEGS):
                keys = "".join(rng.choice(KEYS) for _ in range(40))
                nursery.start_soon(press, plane, f"{network}.{number + 2}", keys)
    return right, KEY_LEGS * 40


def _quality(table: Table) -> None:
    """Speech that was played, recorded, played again and recorded again, against the original."""
    pesq = importlib.import_module("pesq").pesq  # bench/requirements.txt: it is compiled

    said = _said()
    with tempfile.TemporaryDirectory(prefix="pbxb") as name:
        for law in ("PCMA/8000", "PCMU/8000"):
            heard = trio.run(_twice, said, Path(name), law)
            score = pesq(8000, said, _aligned(said, heard), "nb")
            best = pesq(8000, said, g711.decode(g711.encode(said, law), law), "nb")
            table.add(
                f"PESQ (P.862.1) of speech played, recorded, played and recorded, {law}",
                f"{score:.2f}",
                peer=f"{best:.2f}, the codec alone",
                ratio=score / best,
                goal="4.2",
                met=score >= 4.2,
            )


def _said() -> sound.Samples:
    """What people have said (the channel names of alsa-utils), as telephones let it through.

    P.862 is for telephone speech: 300 to 3400 Hz, here at -26 dBov.
    """
    voices = [p for p in sorted(VOICES.glob("*.wav")) if p.stem != "Noise"]
    pause = np.zeros(2400, np.int16)
    spoken = np.concatenate([part for p in voices for part in (sound.read(p, 8000), pause)])
    spectrum, at = np.fft.rfft(spoken.astype(float)), np.fft.rfftfreq(len(spoken), 1 / 8000)
    spectrum /= (1 + (300 / np.maximum(at, 1)) ** 8) * (1 + (at / 3400) ** 16)
    heard = np.fft.irfft(spectrum, len(spoken))
    loud = heard[np.abs(heard) > 200]
    return (heard * 32768 * 10 ** (-26 / 20) / np.sqrt((loud**2).mean())).astype(np.int16)


def _aligned(said: sound.Samples, heard: sound.Samples) -> sound.Samples:
    """``heard`` from where ``said`` begins in it, for PESQ takes long pauses before for loss."""
    size = 1 << (len(said) + len(heard)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    shift = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard)]))
    return heard[shift : shift + len(said)]


async def _twice(said: sound.Samples, folder: Path, law: str) -> sound.Samples:
    with loopback_network() as network:
        async with (
            AudioPlane(f"{network}.1", ports=(30000, 30001), capacity=1) as one,
            AudioPlane(f"{network}.2", ports=(30000, 30001), capacity=1) as two,
        ):
            a, b = one.leg(), two.leg()
            a.connect(b.address, b.port, codec=law)  # pyright: ignore[reportArgumentType]
            b.connect(a.address, a.port, codec=law)  # pyright: ignore[reportArgumentType]
            first, second = folder / "first.wav", folder / "second.wav"
            recording = b.record(first)
            await trio.sleep(0.5)
            await a.play(one.clip(said))
            await trio.sleep(0.5)
            recording.stop()
            await recording
            recording = a.record(second)
            await trio.sleep(0.5)
            await b.play(await two.load(first))
            await trio.sleep(0.5)
            recording.stop()
            await recording
            return sound.read(second, 8000)
