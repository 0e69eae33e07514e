"""The engine's process: registry, supervisor and API, until it is told to end.

Tasks are not its children's fate: they go on when it ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress

import trio

import pbxctl
from pbxctl.engines.engine import EngineError
from pbxctl.engines.local.about import About
from pbxctl.engines.local.api import Api
from pbxctl.engines.local.http import serve
from pbxctl.engines.local.registry.server import RegistryServer
from pbxctl.engines.local.registry.storage import Storage, StorageError
from pbxctl.engines.local.state_dir import StateDir, write
from pbxctl.engines.local.supervisor import Supervisor

REGISTRY_HOST = "127.0.0.1"
MOST_FILES = 1024 * 1024


def run(state: StateDir, port: int, ready: Callable[[], None]) -> None:
    """Run until told to end; ``ready`` is called once it answers. Raises EngineError."""
    _limits()
    state.prepare()
    lock = _only_one(state)
    try:
        with closing(_registry_socket(port)) as registry, closing(_socket(state)) as own:
            write(state.port, str(port).encode())
            storage = Storage(state.registry / "registry.sqlite")
            try:
                trio.run(_main, state, storage, registry, own, port, ready)
            finally:
                storage.close()
                state.socket.unlink(missing_ok=True)
    except StorageError as error:
        raise EngineError(str(error)) from None
    except OSError as error:
        raise state.failed(error) from None
    finally:
        os.close(lock)


async def _main(
    state: StateDir,
    storage: Storage,
    registry_socket: socket.socket,
    own_socket: socket.socket,
    port: int,
    ready: Callable[[], None],
) -> None:
    about = About(
        release=pbxctl.__version__, pid=os.getpid(), registry=f"http://{REGISTRY_HOST}:{port}"
    )
    stop = trio.Event()
    registry = RegistryServer(storage)
    async with trio.open_nursery() as nursery:
        await nursery.start(registry.run)
        await nursery.start(serve, registry.ask, registry_socket)
        supervisor = Supervisor(state, nursery)
        supervisor.recover()
        await nursery.start(serve, Api(supervisor, about, stop).ask, own_socket)
        nursery.start_soon(_signalled, stop)
        ready()
        await stop.wait()
        # The answer to who said so is still on its way.
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def _signalled(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()


def _limits() -> None:
    """What tasks inherit, whoever's shell it was that started the engine.

    A media server has several sockets a call, and shells allow 1024 files. No more than
    `MOST_FILES`, because there are programs that try to close every number up to the limit.
    """
    os.umask(0o022)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most > MOST_FILES:
        most = MOST_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _only_one(state: StateDir) -> int:
    try:
        file = os.open(state.pid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise state.failed(error) from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise EngineError(f"{state.pid}: another engine runs on this directory") from None
        raise state.failed(error) from None
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, str(os.getpid()).encode())
    return file


def _registry_socket(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((REGISTRY_HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise EngineError(
            f"{REGISTRY_HOST}:{port}: {error.strerror}: the registry cannot listen there. Stop "
            "what uses the port, or give another one as network.ports.registry in the spec"
        ) from None
    return listener


def _socket(state: StateDir) -> socket.socket:
    # The lock is held, so whoever listened there has gone.
    state.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(state.socket))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
