"""A database on several hosts: which of them answer, so that a dead one holds nobody up.

libpq tries one host after the other and gives a dead one two seconds at least. Asked all at once,
those that are there say so in a network's round trip, and libpq chooses among them by
``target_session_attrs``.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

PATIENCE = 1.0
"""Seconds for the first answer."""
GRACE = 0.05
"""Seconds more for the others, once one has answered: the primary may be a little slower."""
DEFAULT_PORT = "5432"

Host = tuple[str, str]
"""Address and port, both as text."""


def hosts(parameters: dict[str, Any]) -> list[Host]:
    """Those of libpq's ``host`` and ``port``, lists by commas; one port may be for all of them."""
    names = str(parameters.get("host") or "").split(",")
    ports = str(parameters.get("port") or DEFAULT_PORT).split(",")
    if len(ports) == 1:
        ports *= len(names)
    return [(name, port or DEFAULT_PORT) for name, port in zip(names, ports, strict=False)]


def choose(parameters: dict[str, Any]) -> None:
    """Leave in libpq's ``parameters`` the hosts that answer; all, if none does or there is one.

    For the event ``do_connect`` of an engine. Waits `PATIENCE` seconds at most.
    """
    known = hosts(parameters)
    if len(known) < 2:
        return
    found = answering(known) or known
    parameters["host"] = ",".join(name for name, _ in found)
    parameters["port"] = ",".join(port for _, port in found)


def answering(known: Sequence[Host]) -> list[Host]:
    """Those that take a connection, in the order given."""
    found: set[Host] = set()
    with selectors.DefaultSelector() as selector:
        waiting = [_connect(host, selector) for host in known]
        deadline = time.monotonic() + PATIENCE
        try:
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    selector.unregister(key.fileobj)
                    if _error(key.fileobj) == 0:
                        found.add(key.data)
                        deadline = min(deadline, time.monotonic() + GRACE)
        finally:
            for each in filter(None, waiting):
                each.close()
    return [host for host in known if host in found]


def _connect(host: Host, selector: selectors.BaseSelector) -> socket.socket | None:
    """A socket on its way to ``host``, an address: nothing is looked up."""
    name, port = host
    made = socket.socket(socket.AF_INET6 if ":" in name else socket.AF_INET)
    made.setblocking(False)
    try:
        made.connect((name, int(port)))
    except BlockingIOError:
        pass
    except OSError:
        made.close()
        return None
    selector.register(made, selectors.EVENT_WRITE, host)
    return made


def _error(made: Any) -> int:
    return made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
