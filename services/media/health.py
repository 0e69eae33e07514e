"""The check that does the job: an RTP packet goes through rtpengine and comes back."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from services.core.ng import Ng, NgError, text
from services.media import rtp, sdp

PROBE = "pbx-health-"
"""Call-IDs of the checks' own sessions start like this."""
DEADLINE = 0.8
"""Seconds for one whole check."""
RESEND = 0.1
"""Seconds after which the packet is sent again: on a busy host one may be dropped."""
SILENCE = b"\xd5" * 160
"""20 ms of silence in A-law."""


class EchoError(Exception):
    """The check failed; the message says at which step."""


class Echo:
    """Two sockets of this server, as two phones; made by `open_echo`."""

    def __init__(
        self,
        ng: Ng,
        address: str,
        media_address: str,
        caller: trio.socket.SocketType,
        callee: trio.socket.SocketType,
        interface: str,
    ) -> None:
        self._interface = interface
        self._ng = ng
        self._address = address
        self._media_address = media_address
        self._caller = caller
        self._callee = callee

    async def check(self) -> float:
        """Seconds that a packet took through rtpengine to the other side and back.

        The session is deleted, whatever happened. Raises EchoError.
        """
        call = PROBE + secrets.token_hex(8)
        try:
            with trio.fail_after(DEADLINE):
                to_callee = await self._session("offer", call, self._caller)
                to_caller = await self._session("answer", call, self._callee)
                # to_caller is where the caller sends; to_callee where the callee does.
                return await self._round_trip(to_caller, to_callee)
        except trio.TooSlowError:
            raise EchoError(f"no RTP echo in {DEADLINE:g} s") from None
        except (NgError, OSError) as error:
            raise EchoError(str(error)) from None
        finally:
            with trio.move_on_after(DEADLINE / 2, shield=True):
                await self._delete(call)

    async def _session(self, command: str, call: str, socket: trio.socket.SocketType) -> int:
        """The port that rtpengine opens for the other side of ``socket``."""
        parameters: dict[str, Any] = {
            "call-id": call,
            "from-tag": "caller",
            "sdp": sdp.describe(
                address=self._address, port=socket.getsockname()[1], codecs={8: "PCMA/8000"}
            ),
            "flags": ["trust-address", "no-redis-update"],
            "ICE": "remove",
        }
        if self._interface:
            parameters["direction"] = [self._interface, self._interface]
        if command == "answer":
            parameters["to-tag"] = "callee"
        answer = await self._ng.command(command, parameters, deadline=DEADLINE)
        media = sdp.audio(text(answer.get("sdp")))
        if media is None or media.port == 0:
            raise EchoError(f"rtpengine's answer to {command} has no audio port")
        return media.port

    async def _delete(self, call: str) -> None:
        try:
            await self._ng.command("delete", {"call-id": call}, deadline=DEADLINE / 2)
        except NgError:
            return  # it is gone already, or will be with its timeout

    async def _round_trip(self, to_caller: int, to_callee: int) -> float:
        packet = rtp.build(rtp.Packet(8, 1, 160, secrets.randbits(32), SILENCE))
        sent = 0.0
        for attempt in range(8):
            packet = rtp.build(
                rtp.Packet(8, attempt, 160 * attempt, int.from_bytes(packet[8:12], "big"), SILENCE)
            )
            sent = trio.current_time()
            await self._caller.sendto(packet, (self._media_address, to_caller))
            with trio.move_on_after(RESEND):
                await _arrival(self._callee, packet)
                await self._callee.sendto(packet, (self._media_address, to_callee))
                await _arrival(self._caller, packet)
                return trio.current_time() - sent
        raise EchoError("packets go in and do not come out")


async def _arrival(socket: trio.socket.SocketType, packet: bytes) -> None:
    """Wait for this packet; an earlier check's stragglers are dropped."""
    while True:
        data = await socket.recv(2048)
        if data[2:] == packet[2:]:
            return


@asynccontextmanager
async def open_echo(
    ng: Ng, address: str, media_address: str, interface: str = ""
) -> AsyncIterator[Echo]:
    """The check, with its sockets on ``address``. Raises OSError if it is not this host's.

    ``interface`` is rtpengine's logical interface on ``media_address``, empty for its first.
    """
    family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
    with (
        trio.socket.socket(family, trio.socket.SOCK_DGRAM) as caller,
        trio.socket.socket(family, trio.socket.SOCK_DGRAM) as callee,
    ):
        await caller.bind((address, 0))
        await callee.bind((address, 0))
        yield Echo(ng, address, media_address, caller, callee, interface)
