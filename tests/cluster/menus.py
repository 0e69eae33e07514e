"""A cluster with IVR servers: what callers hear comes through Call Managers and media servers."""

from __future__ import annotations

import hashlib
import json
import re
import selectors
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Self

import numpy as np
import trio

from pbxctl.probe import audio
from services.core.audio.g711 import ALAW
from services.core.configuration import Destination, SwitchState, prefix
from services.core.menus import HangUp, Menu, Sound, Transfer
from services.media import rtp
from services.media.recording.stereo import Stereo
from services.media.recording.timeline import Timeline
from tests.cluster.call_managers import NAMES
from tests.cluster.chaos.cluster import Cluster
from tests.cluster.lab import Host, Lab, lab
from tests.cluster.managers import pid_of
from tests.cluster.signalling import ROOT
from tests.cluster.signalling_documents import CLUSTER
from tests.integration.calls.party import Call, Message, Party, sdp
from tests.support.smtp_server import PASSWORD, SECRET, MailServer, make_certificates

RATE = 8000
FRAME = 0.02
WITH_KEYS = "8 0 101"
"""Formats of a session description: G.711 and telephone events."""
PCMA = 8
REDIS = 6380
SERVERS = ("a1", "a2")
MAIN = "800"
CALLEE = "2003"
CONNECT = Transfer(to=Destination(kind="extension", target=CALLEE))
PROMPT = 2
"""Which of the probe's voices menu ``main`` speaks with."""
SECONDS = 12.0
WELL_FOR = 4
"""Seconds after which a failure is over."""


class Menus(Cluster):
    """`Cluster` with IVR servers ``a1`` and ``a2``; users reach menu ``main`` as 800.

    Key 1 there hangs up, key 2 connects with `CALLEE`. Administrators are mailed through ``mail``.
    Each server is for ``capacity`` calls.
    """

    capacity = 50

    def __init__(self, network: Lab) -> None:
        super().__init__(network)
        self.servers = [network[name] for name in SERVERS]
        self.mail = MailServer(network.directory / "mail", self.outside.address, 2525)
        make_certificates(self.mail.directory, self.mail.address)
        self.alerts = self.mail.alerts(well_for=WELL_FOR)
        self.menus = {
            MAIN: Menu(
                name="main",
                prompt={"en": self._voice(PROMPT)},
                keys={"1": (HangUp(),), "2": (CONNECT,)},
                after=60,
            )
        }

    def _voice(self, voice: int) -> Sound:
        """Speech that every server has already."""
        path = self.network.directory / "voice.wav"
        audio.write_wav(path, audio.speak(voice, RATE, seconds=SECONDS), RATE)
        sound = path.read_bytes()
        name = hashlib.sha256(sound).hexdigest()
        for host in self.servers:
            sounds = host.directory / "data-ivr" / "sounds"
            sounds.mkdir(parents=True)
            (sounds / name).write_bytes(sound)
        return Sound(digest=name)

    def start(self) -> None:
        super().start()
        where = ["--bind", self.infra.address, "--port", str(REDIS)]
        words = ["redis-server", *where, "--save", "", "--protected-mode", "no"]
        self.infra.start(words, name="redis")
        self.outside.start(self.mail.command, env={"PYTHONPATH": str(ROOT)}, name="mail")
        assert self.api(
            self.managers[0],
            f"/v1/secrets/{SECRET}",
            "PUT",
            json.dumps({"value": PASSWORD}).encode(),
        )
        for host in self.servers:
            self.start_server(host)
        self.until_states("up", "up")

    def start_server(self, host: Host) -> None:
        env = self.environment(
            host,
            "ivr",
            vip=self.vip,
            managers=self._peers(),
            live=f"{self.infra.address}:{REDIS}",
            capacity=str(self.capacity),
        )
        host.start([sys.executable, "-m", "services.ivr"], env=env, name="ivr")

    def pid(self, host: Host) -> int:
        """The server's main process; its audio has another one."""
        return pid_of(host, "-m services.ivr")

    def until_states(self, *states: str, within: float = 60.0) -> None:
        """What every Call Manager takes the servers for, in the order of `SERVERS`."""

        def so() -> bool:
            for host in self.managers:
                found = self.api(host, "/v1/configuration")
                if found is None or tuple(app["state"] for app in found["apps"]) != states:
                    return False
            return True

        self.wait(so, f"IVR servers {states}", within)

    def switch(self, server: str, state: SwitchState) -> None:
        """The administrator's word on a server; every Call Manager has it when this returns."""
        path = f"/v1/kv/{prefix(CLUSTER)}switches/{server}/ivr"
        trio.run(partial(self.network.ask, "m1", path, method="PUT", body={"state": state}))
        wanted = [state if name == server else "up" for name in SERVERS]
        self.until_states(*("up" if each == "enabled" else each for each in wanted))

    def loads(self) -> dict[str, int]:
        """Calls of each server, as the VIP's holder counts them."""
        assert self.holder
        counters = self.counters(self.holder)
        return {name: counters.get(f"a:ivr/{name}", 0) for name in SERVERS}

    def call(self, phone: Party) -> Call:
        """A call to menu ``main``, answered."""
        return self.call_with_answer(phone)[0]

    def call_with_answer(self, phone: Party) -> tuple[Call, Message]:
        """The same, and its 200."""
        call = phone.call(MAIN, sdp(phone.address, formats=WITH_KEYS))
        answer = call.expect(200)
        call.ack()
        return call, answer


class Listening:
    """What a phone hears at the address and port of its session description, in G.711 A-law."""

    def __init__(self, host: Host, phone: Party, port: int = 40000) -> None:
        self._socket = host.socket()
        self._socket.bind((phone.address, port))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._heard: list[tuple[float, bytes]] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._ends.is_set():
                if selector.select(0.1):
                    self._heard.append((time.monotonic(), self._socket.recv(2048)))

    def press(self, key: int, call: Call, answer: Message) -> None:
        """Press a key as RFC 4733 has it; ``answer`` is the 200 that the call got."""
        media = re.search(r"c=IN IP4 (\S+)", answer.body)
        assert media is not None
        source, at = zlib.crc32(call.call_id.encode()), 8000
        for number in range(6):
            released = 0x80 if number > 2 else 0
            event = bytes([key, released | 10, *(160 * min(number + 1, 4)).to_bytes(2, "big")])
            packet = rtp.build(rtp.Packet(101, number, at, source, event, number == 0))
            self._socket.sendto(packet, (media[1], answer.port))

    def gap(self, since: float) -> float:
        """The longest time without a packet from a time of `time.monotonic` until now, seconds."""
        times = [since, *(at for at, _ in list(self._heard) if at > since), time.monotonic()]
        return max(after - before for before, after in pairwise(times))

    def sound(self) -> audio.Samples:
        """All of it, at 8 kHz, each packet at its place."""
        timeline = Timeline(lambda kind: RATE if kind == PCMA else 0)
        stereo = Stereo(RATE, self._heard[0][0])
        frames: list[np.ndarray[tuple[int, int], np.dtype[np.int16]]] = []
        for at, data in self._heard:
            packet = rtp.parse(data)
            if packet is None:
                continue
            frames += stereo.take(at - 1.0)
            for placed in timeline.feed(at, packet):
                stereo.write(0, placed.time, ALAW[np.frombuffer(placed.packet.payload, np.uint8)])
        for placed in timeline.flush():
            stereo.write(0, placed.time, ALAW[np.frombuffer(placed.packet.payload, np.uint8)])
        frames += stereo.rest()
        return np.concatenate(frames)[:, 0].astype(np.float32) / np.float32(32768)


class Crowded(Menus):
    """`Menus` for a thousand calls of carrier ``udp``."""

    calls, channels, capacity = 0, 0, 1100


@contextmanager
def menus(kind: type[Menus] = Menus) -> Iterator[Menus]:
    """One that runs, and is gone afterwards."""
    with lab(consul=(*NAMES, "m1", *SERVERS), plain=("phones",)) as network:
        made = kind(network)
        made.start()
        try:
            yield made
        finally:
            made.hang_up_all()
