"""Becomes Redis: its configuration from settings, and the account it runs as."""

from __future__ import annotations

import shutil
from typing import NoReturn

from services.core import account
from services.core.settings import SettingsError
from services.live.settings import LiveSettings

USER = "redis"
PASSWORD = "live_password"  # noqa: S105 - the secret's name


def password(settings: LiveSettings) -> str:
    """What clients, replicas and the agent say. Raises SettingsError if it is not there."""
    found = settings.secret(PASSWORD)
    if not found:
        raise SettingsError(f"secret {PASSWORD}: {settings.secrets_dir / PASSWORD}: is empty")
    return found


def become_redis(settings: LiveSettings) -> NoReturn:
    """Replace this process by Redis. Raises SettingsError for what it cannot run without."""
    program = shutil.which("redis-server")
    if program is None:
        raise SettingsError("redis-server: no such program; install the package redis-server")
    owner = account.account(USER, "redis-server")
    text = configuration(settings, password(settings))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    account.own_directory(settings.home, owner)
    path = settings.home / "redis.conf"
    account.own_file(path, text, owner)
    account.become(owner, [program, str(path)], {}, settings.home)


def configuration(settings: LiveSettings, password: str) -> str:
    """``redis.conf``. Source: the commented one of Redis 7.0.

    Persistence is an append-only file, written at once and synced each second: Redis killed on a
    living host loses nothing, where an empty one would have its replicas drop their data too. For
    a host that dies there are the replicas.
    """
    s = settings
    vips = [each.partition("/")[0] for each in (s.vip, s.vip6) if each]
    addresses = dict.fromkeys([s.address, *vips])
    said = {
        # All hosts listen on the VIP before they have it (ip_nonlocal_bind), as Kamailio does.
        "bind": " ".join(addresses),
        "port": s.port,
        "requirepass": _quoted(password),
        "masterauth": _quoted(password),
        "replica-announce-ip": s.address,
        "dir": _quoted(str(s.home)),
        "daemonize": "no",
        "logfile": '""',
        "databases": 32,
        "save": '""',
        "appendonly": "yes",
        "appendfsync": "everysec",
        # A rewrite's syncs must not hold up the one that clients wait for.
        "no-appendfsync-on-rewrite": "yes",
        "maxmemory": f"{s.memory}mb",
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": "KA",
        "tcp-keepalive": 5,
        # A dead primary or replica is noticed in seconds, not in a minute.
        "repl-timeout": 5,
        "repl-ping-replica-period": 1,
        "repl-backlog-size": "64mb",
        "repl-diskless-sync": "yes",
        "repl-diskless-sync-delay": 0,
        "client-output-buffer-limit": "replica 256mb 128mb 30",
    }
    return "".join(f"{name} {value}\n" for name, value in said.items())


def _quoted(text: str) -> str:
    """A value in Redis' double quotes; other than printable ASCII as ``\\xHH``."""
    plain = range(0x20, 0x7F)
    return (
        '"'
        + "".join(
            chr(b) if b in plain and chr(b) not in '"\\' else f"\\x{b:02x}" for b in text.encode()
        )
        + '"'
    )
