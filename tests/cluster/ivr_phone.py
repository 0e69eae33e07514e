"""A phone on a host of a lab, told what to do over a socket in its directory.

python -m tests.cluster.ivr_phone <address> <directory>

Commands, one a connection: ``dial <server> <menu>``, ``say <voice>``, ``answer <voice>``
(what it says to who calls it), ``keys <keys>``, ``hang up``, ``state``. The answer is JSON:
``up`` or ``over``, of the call that it made last (``out``) and of the one it took last (``in``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import trio

from services.core.audio import AudioPlane
from services.core.sip import Invitation, UserAgent
from tests.support.ivr_phone import IvrPhone

KEY = bytes.fromhex("5e" * 32)
SOCKET = "phone"
OUT, IN = "out", "in"


class Phone:
    """``sides`` are the calls by name: the one made and the one taken last."""

    def __init__(self, agent: UserAgent, plane: AudioPlane, directory: Path) -> None:
        self._agent = agent
        self._plane = plane
        self._directory = directory
        self._voice: int | None = None
        self.sides: dict[str, IvrPhone] = {}
        self.nursery: trio.Nursery

    def _side(self, name: str) -> IvrPhone:
        side = IvrPhone(self._agent, self._plane, self._directory / f"{name}.wav")
        self.sides[name] = side
        return side

    async def take(self, invitation: Invitation) -> None:
        side = self._side(IN)
        if self._voice is not None:
            self.nursery.start_soon(self._speak, side, self._voice)
        await side.answer(invitation)

    async def _speak(self, side: IvrPhone, voice: int) -> None:
        await side.answered.wait()
        side.say(voice)

    async def do(self, words: list[str]) -> None:
        match words:
            case ["dial", address, menu]:
                side = self._side(OUT)
                self.nursery.start_soon(side.dial, address, KEY, menu)
                with trio.fail_after(5):
                    await side.answered.wait()
            case ["say", voice]:
                self.sides[OUT].say(int(voice))
            case ["answer", voice]:
                self._voice = int(voice)
            case ["keys", keys]:
                self.sides[OUT].leg.send_keys(keys)
            case ["hang", "up"]:
                self.sides[OUT].call.hang_up()
                self.sides[OUT].stop()
            case _:
                pass

    def state(self) -> dict[str, str]:
        """``up``, ``over``, by side."""
        return {name: "over" if side.over.is_set() else "up" for name, side in self.sides.items()}

    async def serve(self) -> None:
        path = self._directory / SOCKET
        path.unlink(missing_ok=True)
        listening = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await listening.bind(str(path))
        listening.listen()
        while True:
            connection, _ = await listening.accept()
            with connection:
                await self.do((await connection.recv(1000)).decode().split())
                await connection.send(json.dumps(self.state()).encode())


async def main(address: str, directory: Path) -> None:
    async with (
        AudioPlane(address, ports=(18000, 18007), capacity=10) as plane,
        UserAgent(address, 5060, name="phone") as agent,
        trio.open_nursery() as nursery,
    ):
        phone = Phone(agent, plane, directory)
        phone.nursery = nursery
        nursery.start_soon(agent.serve, phone.take)
        await phone.serve()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
