"""Sockets: UDP and TCP on one address. Sending never waits.

A datagram that cannot go out is dropped: its transaction sends it again, as one that is lost on the
way. A connection has a queue of bounded length; one that does not take its bytes, or sends half a
message and no more, is closed.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import trio

from services.core.sip.errors import MalformedError
from services.core.sip.exchange import Flow
from services.core.sip.framing import KEEP_ALIVE, PONG, Framing

log = logging.getLogger(__name__)

AT_ONCE = 64
MAX_DATAGRAM = 65535
BUFFER = 4 * 1024 * 1024
MAX_CONNECTIONS = 2000
MAX_QUEUE = 1024
"""Messages that wait for a connection to take them."""
HALF = 10.0
"""Seconds that a message may take to be whole, a connection to be made or to take its bytes."""
IDLE = 3600.0
"""Seconds after which a connection that says nothing is closed."""


class Connection:
    """A TCP connection: one that came, or one that we make."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.scope = trio.CancelScope()
        self._put, self.queue = trio.open_memory_channel[bytes](MAX_QUEUE)

    def send(self, data: bytes) -> None:
        """Queue it; a connection whose queue is full is closed."""
        try:
            self._put.send_nowait(data)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.scope.cancel()


class Transports:
    """``receive`` is given each message and where it came from, ``lost`` flows that are closed."""

    def __init__(
        self, receive: Callable[[bytes, Flow], None], lost: Callable[[Flow], None]
    ) -> None:
        self._receive, self._lost = receive, lost
        self._connections: dict[Flow, Connection] = {}
        self._udp: socket.socket
        self._listener: trio.SocketListener
        self._nursery: trio.Nursery
        self._address = ""

    async def open(self, address: str, port: int) -> int:
        """Bind UDP and TCP to one port, which is returned. `OSError` if it is taken."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            udp.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                udp.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            udp.bind((address, port))
            port = int(udp.getsockname()[1])
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await tcp.bind((address, port))
            tcp.listen(128)
        except BaseException:
            udp.close()
            tcp.close()
            raise
        self._udp, self._address = udp, address
        self._listener = trio.SocketListener(tcp)
        return port

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled; started when it can send."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._read_udp)
            task_status.started()
            await trio.serve_listeners(self._accept, [self._listener])

    async def _read_udp(self) -> None:
        udp = self._udp
        while True:
            await trio.lowlevel.wait_readable(udp)
            for _ in range(AT_ONCE):
                try:
                    data, source = udp.recvfrom(MAX_DATAGRAM)
                except BlockingIOError:
                    break
                except OSError as error:  # an ICMP error of something that was sent
                    log.debug("%s", error)
                    continue
                self._receive(data, Flow("udp", source[0], source[1]))

    def send(self, data: bytes, flow: Flow) -> None:
        """Send; a failure is as a loss on the way."""
        if flow.transport == "tcp":
            self._send_tcp(data, flow)
            return
        if flow.transport != "udp":
            return
        try:
            self._udp.sendto(data, (flow.host, flow.port))
        except OSError as error:
            log.debug("%s:%s: %s", flow.host, flow.port, error)

    def _send_tcp(self, data: bytes, flow: Flow) -> None:
        connection = self._connections.get(flow)
        if connection is None:
            if len(self._connections) >= MAX_CONNECTIONS:
                log.warning("%s:%s: too many connections", flow.host, flow.port)
                return
            connection = self._connections[flow] = Connection(flow)
            self._nursery.start_soon(self._connect, connection)
        connection.send(data)

    async def _connect(self, connection: Connection) -> None:
        flow = connection.flow
        stream: trio.SocketStream | None = None
        try:
            with trio.move_on_after(HALF):
                stream = await trio.open_tcp_stream(
                    flow.host, flow.port, local_address=self._address
                )
        except OSError as error:
            log.info("%s:%s: %s", flow.host, flow.port, error)
        if stream is None:
            self._drop(connection)
        else:
            await self._talk(connection, stream)

    async def _accept(self, stream: trio.SocketStream) -> None:
        try:
            peer = stream.socket.getpeername()
        except OSError:
            await trio.aclose_forcefully(stream)
            return
        connection = Connection(Flow("tcp", peer[0], peer[1]))
        if len(self._connections) >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self._connections[connection.flow] = connection
        await self._talk(connection, stream)

    async def _talk(self, connection: Connection, stream: trio.SocketStream) -> None:
        try:
            with connection.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, connection, stream)
                    await self._read(connection, stream)
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._drop(connection)
            await trio.aclose_forcefully(stream)

    async def _read(self, connection: Connection, stream: trio.SocketStream) -> None:
        framing = Framing()
        began = trio.current_time()
        while True:
            deadline = began + HALF if framing.partial else trio.current_time() + IDLE
            data = b""
            with trio.CancelScope(deadline=deadline):
                data = await stream.receive_some(MAX_DATAGRAM)
            if not data:
                return
            partial = framing.partial
            try:
                messages = framing.feed(data)
            except MalformedError as error:
                log.info("%s:%s: %s", connection.flow.host, connection.flow.port, error)
                return
            if messages or not partial:
                began = trio.current_time()
            for message in messages:
                if message == KEEP_ALIVE:
                    connection.send(PONG)
                else:
                    self._receive(message, connection.flow)

    async def _write(self, connection: Connection, stream: trio.SocketStream) -> None:
        async for data in connection.queue:
            with trio.move_on_after(HALF) as taking:
                await stream.send_all(data)
            if taking.cancelled_caught:
                connection.scope.cancel()
                return

    def _drop(self, connection: Connection) -> None:
        if self._connections.get(connection.flow) is connection:
            del self._connections[connection.flow]
        self._lost(connection.flow)

    def close(self) -> None:
        """Close everything."""
        self._udp.close()
        self._listener.socket.close()
