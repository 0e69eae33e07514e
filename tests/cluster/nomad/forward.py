"""Carries connections to this machine's loopback on to that of a lab's host."""

from __future__ import annotations

import contextlib
import socket

import trio

from tests.cluster.lab import Host


async def forward(host: Host, port: int, *, task_status: trio.TaskStatus[str]) -> None:
    """Tells the ``host:port`` to connect to, and goes on until it is cancelled."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        free = int(found.getsockname()[1])

    async def carry(client: trio.SocketStream) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with client:
                with trio.socket.from_stdlib_socket(host.socket(kind=socket.SOCK_STREAM)) as made:
                    await made.connect(("127.0.0.1", port))
                    server = trio.SocketStream(made)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_copy, client, server)
                        nursery.start_soon(_copy, server, client)

    listeners = await trio.open_tcp_listeners(free, host="127.0.0.1")
    task_status.started(f"127.0.0.1:{free}")
    await trio.serve_listeners(carry, listeners)


async def _copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()
