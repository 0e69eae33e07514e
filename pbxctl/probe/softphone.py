"""A soft phone as others use it: owns its process, turns its lines into values and waits.

Everything waits under the caller's cancel scopes (``trio.fail_after``); a phone whose process ends
unasked raises `PhoneError` from whatever waits for it.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import trio

from pbxctl.probe import protocol

E = TypeVar("E", bound=protocol.Event)

START = 20.0
"""Seconds for the process to be there; the library and NumPy load in about 1."""
STOP = 5.0


class PhoneError(Exception):
    """A command was refused, or the phone's process failed; the message says which."""


class SoftPhone:
    """Made by `soft_phone`. ``events`` holds all that has happened, oldest first."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.pid = process.pid
        self.events: list[protocol.Event] = []
        self.log: list[str] = []
        self._process = process
        self._replies: dict[int, protocol.Reply] = {}
        self._last = 0
        self._news = trio.Event()
        self._ended: str | None = None

    async def do(self, command: protocol.Command) -> protocol.Done:
        """Carry out a command. Raises PhoneError if the library refuses it."""
        self._last += 1
        number = self._last
        line = msgspec.json.encode(protocol.Request(id=number, command=command)) + b"\n"
        assert self._process.stdin is not None  # noqa: S101  (it was started with a pipe)
        try:
            await self._process.stdin.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._until(lambda: self._ended is not None)
        await self._until(lambda: number in self._replies)
        reply = self._replies.pop(number)
        if isinstance(reply, protocol.Refused):
            raise PhoneError(f"{self.name}: {type(command).__name__}: {reply.text}")
        return reply

    async def wait(
        self, kind: type[E], matches: Callable[[E], bool] = lambda _: True, *, after: int = 0
    ) -> E:
        """The first event of a kind that matches, of those from index ``after`` on, or to come."""
        position = after

        def found() -> bool:
            nonlocal position
            while position < len(self.events):
                event = self.events[position]
                if isinstance(event, kind) and matches(event):
                    return True
                position += 1
            return False

        await self._until(found)
        event = self.events[position]
        assert isinstance(event, kind)  # noqa: S101  (found() has looked)
        return event

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._ended is not None:
                raise PhoneError(self._ended)
            await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def read(self) -> None:
        """Take in what the process says, until it ends; `soft_phone` runs it, and `read_log`."""
        assert self._process.stdout is not None  # noqa: S101
        decoder = msgspec.json.Decoder(protocol.Line)
        async for line in _lines(self._process.stdout):
            message = decoder.decode(line)
            if isinstance(message, protocol.Done | protocol.Refused):
                self._replies[message.re] = message
            else:
                self.events.append(message)
            self._tell()
        status = await self._process.wait()
        last = "; ".join(self.log[-3:])
        self._ended = f"{self.name}: the phone's process ended with status {status}: {last}"
        self._tell()

    async def read_log(self) -> None:
        """Keep the last of what PJSIP logs."""
        assert self._process.stderr is not None  # noqa: S101
        async for line in _lines(self._process.stderr):
            self.log.append(line.decode(errors="replace"))
            del self.log[:-5000]


@asynccontextmanager
async def soft_phone(name: str, start: protocol.Start) -> AsyncGenerator[SoftPhone]:
    """A phone that is ready to register; its process is gone at the end, whatever happens.

    Raises PhoneError if PJSIP is not installed or does not start.
    """
    if importlib.util.find_spec("pjsua2") is None:
        raise PhoneError("PJSIP's Python binding is not installed: pip install 'pbxctl[probe]'")
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "pbxctl.probe.phone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ctrl-C is for who owns the phone, which then hangs up.
        start_new_session=True,
    )
    phone = SoftPhone(name, process)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(phone.read)
            nursery.start_soon(phone.read_log)
            try:
                with trio.move_on_after(START) as waiting:
                    await phone.do(start)
                if waiting.cancelled_caught:
                    raise PhoneError(f"{name}: the phone did not start within {START:g} s")
                yield phone
            except Exception as error:  # noqa: BLE001  (raised below: no group around it)
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)
    if failure is not None:
        raise failure


async def _end(process: trio.Process) -> None:
    """The phone ends with its input, having hung up and unregistered; else it is killed."""
    assert process.stdin is not None  # noqa: S101
    await process.stdin.aclose()
    with trio.move_on_after(STOP):
        await process.wait()
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    pending = b""
    async for received in stream:
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            yield line
