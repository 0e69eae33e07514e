"""Sends announcements as RTP from one socket, all callers in one beat of 20 ms."""

from __future__ import annotations

import secrets

import numpy as np
import trio

from services.core.audio import g711
from services.core.audio.sound import Samples
from services.core.audio.tones import RATE
from services.core.sip.sdp import Agreed
from services.media import rtp

FRAME = 160
BEAT = FRAME / RATE
LEAD = 15
"""Frames of silence first: the caller's side may still be opening its path (NAT, DTLS)."""


class _Playing:
    def __init__(self, sound: Samples, media: Agreed, target: tuple[str, int]) -> None:
        lead = np.zeros(LEAD * FRAME, np.int16)
        whole = np.concatenate([lead, sound, np.zeros(-len(sound) % FRAME, np.int16)])
        self._data = g711.encode(whole, str(media.codec)).tobytes()
        self._media = media
        self.target = target
        self._frame = 0
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)

    def next(self) -> bytes | None:
        start = self._frame * FRAME
        if start >= len(self._data):
            return None
        packet = rtp.Packet(
            self._media.payload,
            self._sequence + self._frame,
            self._timestamp + start,
            self._ssrc,
            self._data[start : start + FRAME],
            self._frame == 0,
        )
        self._frame += 1
        return rtp.build(packet)


class Player:
    """``playing`` is how many callers hear something."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        self._playing: dict[_Playing, trio.Event] = {}
        self._begun = trio.Event()

    @property
    def playing(self) -> int:
        """How many callers hear something."""
        return len(self._playing)

    async def play(self, sound: Samples, media: Agreed, address: str) -> None:
        """Play ``sound`` to ``address``, from the next beat on, to its end or until cancelled."""
        playing = _Playing(sound, media, (address, media.port))
        over = self._playing[playing] = trio.Event()
        self._begun.set()
        try:
            await over.wait()
        finally:
            self._playing.pop(playing, None)

    async def run(self) -> None:
        """The beat; rests while nobody listens."""
        while True:
            await self._begun.wait()
            beat = trio.current_time()
            while self._playing:
                for playing, over in list(self._playing.items()):
                    packet = playing.next()
                    if packet is None:
                        over.set()
                        continue
                    try:
                        await self._socket.sendto(packet, playing.target)
                    except OSError:
                        continue  # nobody there any more; SIP ends it
                # A late beat is not made up for in a burst.
                beat = max(beat + BEAT, trio.current_time() - BEAT)
                await trio.sleep_until(beat)
            self._begun = trio.Event()
