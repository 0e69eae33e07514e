"""receive_queue.py asks the kernel, so the kernel is asked here too."""

from __future__ import annotations

import socket

from services.call_manager.routing import receive_queue


def test_fill_of_a_socket_that_nobody_reads() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer,
    ):
        reader.bind(("127.0.0.1", 0))
        port = reader.getsockname()[1]
        used, size = receive_queue.used("127.0.0.1", port) or (-1, -1)
        assert used == 0
        assert size > 0
        for _ in range(20):
            writer.sendto(bytes(1000), ("127.0.0.1", port))
        used, size = receive_queue.used("127.0.0.1", port) or (-1, -1)
        fill = used / size
        assert fill is not None
        assert 0.05 < fill <= 1
    assert receive_queue.used("127.0.0.1", port) is None
