"""rtpengine's command line interface: one line over TCP, its answer until the connection ends."""

from __future__ import annotations

import re

import trio

DEADLINE = 3.0
_PORT = re.compile(
    r"^-------- Port +\S+?:(\d+) +<> +\S+?:\d+ *, SSRC ([0-9a-f]+), (\d+) p,", re.MULTILINE
)
_CALL = re.compile(r"^callid: +(\S+) \| .*foreign:(yes|no)", re.MULTILINE)


class CliError(Exception):
    """rtpengine did not answer."""


async def command(port: int, line: str) -> str:
    """The answer to ``line``. Raises CliError."""
    found = bytearray()
    try:
        with trio.fail_after(DEADLINE):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(line.encode() + b"\n")
                async for data in stream:
                    found += data
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise CliError(f"rtpengine does not answer {line!r}: {error}") from None
    return found.decode("utf-8", "surrogateescape")


async def standby(port: int) -> None:
    """Make every session a foreign one: with its next packet it is rtpengine's own again.

    Raises CliError.
    """
    await command(port, "standby")


async def active(port: int) -> None:
    """Have every session written, and make it rtpengine's own. Raises CliError."""
    await command(port, "active")


async def sessions(port: int) -> dict[str, bool]:
    """Call-ID → whether it is foreign. Raises CliError."""
    return read_sessions(await command(port, "list sessions all"))


async def received(port: int, call: str) -> dict[int, tuple[int, int]]:
    """Of a call's RTP streams: SSRC and packets, by the port they came to. Raises CliError."""
    return read_received(await command(port, f"list sessions {call}"))


def read_received(answer: str) -> dict[int, tuple[int, int]]:
    """The same from rtpengine's answer."""
    return {
        int(local): (int(ssrc, 16), int(packets)) for local, ssrc, packets in _PORT.findall(answer)
    }


def read_sessions(answer: str) -> dict[str, bool]:
    """The same from rtpengine's answer."""
    return {call: foreign == "yes" for call, foreign in _CALL.findall(answer)}
