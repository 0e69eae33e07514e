"""The plane's process, as the service sees it: sockets, memory, commands and notices."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import socket
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager

import msgspec
import trio

from services.core.audio import wire
from services.core.audio.arena import Arena, Layout
from services.core.audio.batch import open_socket
from services.core.audio.board import Board
from services.core.audio.board import size as board_size
from services.core.audio.errors import AudioError

GATES = 4
"""Ports that legs share, where there are so many; each is a pair, for RTP and RTCP."""
BUFFER = 16 << 20
"""Bytes of a socket's buffers: half a second of 4,000 legs' packets."""
LARGEST = 1 << 20
PATIENCE = 5.0
"""Seconds for the process to end."""
START = 20.0
"""Seconds for the process to start."""


class EngineProcess:
    """``hear`` is told what the process says; ``expecting``: whether its last words matter."""

    def __init__(
        self,
        address: str,
        ports: tuple[int, int],
        *,
        capacity: int,
        layout: Layout,
        hear: Callable[[wire.Notice], None],
        expecting: Callable[[], bool],
    ) -> None:
        self._address = address
        self._range = ports
        self._capacity = capacity
        self._layout = layout
        self._hear = hear
        self._expecting = expecting
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.ports: list[int] = []
        """The ports of the gates, once it runs."""
        self.pid = 0
        self.board: Board
        self.arena: Arena
        self._control: socket.socket
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[wire.Notice])
        self._waiting: deque[bytes] = deque()
        self._writable = trio.Event()
        self._ready = trio.Event()
        self._problem = ""

    def command(self, command: wire.Command) -> None:
        """Have something done with the next frame; it never waits."""
        self._waiting.append(self._encoder.encode(command))
        self._flush()

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None, None]:
        """Runs while the block does. Raises AudioError if it does not start, or dies."""
        process = await self._start()
        self.pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, process, nursery.cancel_scope)
                nursery.start_soon(self._write)
                with trio.move_on_after(START) as start:
                    await self._ready.wait()
                if start.cancelled_caught:
                    raise AudioError("the audio process does not start")
                yield
                nursery.cancel_scope.cancel()
            if self._problem:
                raise AudioError(self._problem)
        except BaseExceptionGroup as group:
            # Of one: what came out of the block, for our own tasks raise nothing.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise
        finally:
            await self._finish(process)

    async def _start(self) -> trio.Process:
        with ExitStack() as stack:
            gates = self._bind(stack)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(theirs)
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            ours.setblocking(False)
            slots = 2 * self._capacity  # a row for each leg, and for as many rooms
            board, memory = _memory(stack, "board", board_size(slots))
            self.board = Board(slots, memory)
            arena, memory = _memory(stack, "arena", self._layout.size)
            self.arena = Arena(memory, self._layout)
            start = wire.Start(
                capacity=self._capacity,
                rooms=self._capacity,
                rate=self._layout.rate,
                arena_frames=self._layout.frames,
                control=theirs.fileno(),
                board=board,
                arena=arena,
                gates=[(rtp.fileno(), rtcp.fileno()) for rtp, rtcp in gates],
                family=self.family,
                cname=f"{secrets.token_hex(8)}@{self._address}",
            )
            inherited = [theirs, *(end for gate in gates for end in gate)]
            try:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-m", "services.core.audio.engine",
                     msgspec.json.encode(start).decode()],
                    pass_fds=[board, arena, *(end.fileno() for end in inherited)],
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise AudioError(f"the audio process does not start: {error.strerror}") from None
        self._control = ours
        return process

    def _bind(self, stack: ExitStack) -> list[tuple[socket.socket, socket.socket]]:
        first, last = self._range
        gates: list[tuple[socket.socket, socket.socket]] = []
        problem = f"ports {first} to {last}: there is no even one with the next one"
        for port in range(first + first % 2, last, 2):
            if len(gates) == GATES:
                break
            try:
                rtp = stack.enter_context(open_socket(self._address, port, BUFFER))
                rtcp = stack.enter_context(open_socket(self._address, port + 1, BUFFER >> 3))
            except OSError as error:
                problem = str(error.strerror)
                continue
            gates.append((rtp, rtcp))
            self.ports.append(port)
        if not gates:
            raise AudioError(problem)
        return gates

    async def _listen(self, process: trio.Process, everything: trio.CancelScope) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._control)
            try:
                message = self._control.recv(LARGEST)
            except BlockingIOError:
                continue
            except ConnectionError:
                message = b""
            if not message:
                await process.wait()
                self._problem = f"the audio process ended with status {process.returncode}"
                everything.cancel()
                return
            self._tell(message)

    def _tell(self, message: bytes) -> None:
        for notice in self._decoder.decode(message):
            if isinstance(notice, wire.Ready):
                self._ready.set()
            else:
                self._hear(notice)

    def _flush(self) -> bool:
        """Whether all that waits has been written."""
        while self._waiting:
            try:
                self._control.send(self._waiting[0])
            except BlockingIOError:
                self._writable.set()
                return False
            except OSError:
                self._waiting.clear()  # the process is gone, and `_listen` says so
                return True
            self._waiting.popleft()
        return True

    async def _write(self) -> None:
        while True:
            await self._writable.wait()
            await trio.lowlevel.wait_writable(self._control)
            if self._flush():
                self._writable = trio.Event()

    async def _finish(self, process: trio.Process) -> None:
        """The process ends when we have nothing more to say, and its recordings are on disk."""
        with (
            trio.CancelScope(shield=True),
            trio.move_on_after(PATIENCE),
            contextlib.suppress(OSError),
        ):
            self._control.shutdown(socket.SHUT_WR)
            while self._expecting():
                await trio.lowlevel.wait_readable(self._control)
                message = self._control.recv(LARGEST)
                if not message:
                    break
                self._tell(message)
        self._control.close()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PATIENCE):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


def _memory(stack: ExitStack, name: str, size: int) -> tuple[int, mmap.mmap]:
    """Memory that a process which inherits the descriptor sees too."""
    descriptor = os.memfd_create(f"pbx-audio-{name}")
    stack.callback(os.close, descriptor)
    os.truncate(descriptor, size)
    return descriptor, mmap.mmap(descriptor, size)
