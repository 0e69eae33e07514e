"""Starts Patroni with less patience for what does not answer; the system's Python runs it.

Before a standby takes over, Patroni asks every synchronous member, the dead primary among them, and
gives each 2 s: half of the time that writes are away. Who is slower than `PATIENCE` is left out; no
acknowledged write can be lost by that, since whoever may take over is synchronous and has them all.
A Patroni that has no such class simply keeps its own patience.
"""

import importlib
import socket
from contextlib import suppress

PATIENCE = 1.0
"""Seconds for another member's status."""


def hurry():
    """Shorten the questions for a member's status (``GET /patroni``); no other request."""
    requests = importlib.import_module("patroni.request").PatroniRequest
    ask = requests.__call__

    def call(self, member, method="GET", endpoint=None, data=None, **options):
        if method == "GET" and "timeout" in options:
            options["timeout"] = min(options["timeout"], PATIENCE)
        return ask(self, member, method, endpoint, data, **options)

    requests.__call__ = call


def name_nobody():
    """Have no name looked up: Python's HTTP server asks for its own, which nobody reads.

    With DNS away that takes 10 s at each start, and by then the agent has taken Patroni for dead.
    """
    socket.getfqdn = lambda name="": name or "localhost"


if __name__ == "__main__":
    name_nobody()
    with suppress(ImportError, AttributeError):
        hurry()
    importlib.import_module("patroni.__main__").main()
