"""Which server of a role a call goes to, a new one and one whose server has gone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from services.call_manager.tables import AppServer, ServerState
from services.core.succession import shares


class Server(Protocol):
    """What counts of a server."""

    @property
    def name(self) -> str: ...
    @property
    def capacity(self) -> int: ...
    @property
    def state(self) -> ServerState: ...


S = TypeVar("S", bound=Server)


def choose(
    servers: Iterable[S], load: Callable[[str], int], out: Callable[[str], bool]
) -> S | None:
    """The least loaded server, relative to its capacity, of those that may take a call.

    ``load`` is a server's simultaneous calls, ``out`` whether it has just missed. None if there is
    no server that is up, present and below its capacity.
    """
    best: S | None = None
    least = 1.0
    for server in servers:
        if server.state != "up" or server.capacity <= 0:
            continue
        share = load(server.name) / server.capacity
        if share < least and not out(server.name):
            best, least = server, share
    return best


def heir(server: AppServer, call_id: str, servers: Iterable[AppServer]) -> AppServer:
    """Who goes on with a call of an application server's: itself, or where it has gone another.

    The others name the same one for themselves (`services.core.succession`). Where there is nobody,
    what comes for the call goes where it would have gone.
    """
    if server.there:
        return server
    others = {
        each.name: each
        for each in servers
        if each.role == server.role and each.there and each.state == "up"
    }
    name = shares.successor(call_id, others)
    return others[name] if name is not None else server
