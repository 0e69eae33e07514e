"""Becomes Patroni: its configuration from settings and secrets, and the account it runs as."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from services.core import account
from services.core.settings import SettingsError
from services.database.settings import DatabaseSettings, bracketed

USER = "postgres"
SUPERUSER = "postgres"
REPLICATOR = "replicator"
REST_USER = "pbx"
PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PYTHON = "/usr/bin/python3"
"""The one that Debian's Patroni is installed for."""
START = Path(__file__).with_name("patroni_start.py")
SECRETS = ("database_password", "database_superuser_password", "database_replication_password")


def become_patroni(settings: DatabaseSettings) -> NoReturn:
    """Replace this process by Patroni. Raises SettingsError for what it cannot run without."""
    if shutil.which("patroni") is None:
        raise SettingsError("patroni: no such program; install patroni and python3-consul")
    if not PROGRAMS.is_dir():
        raise SettingsError(f"{PROGRAMS}: not there; install the Debian package postgresql-15")
    owner = account.account(USER, "postgresql-15")
    text = msgspec.json.encode(configuration(settings, secrets(settings))).decode()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    account.own_directory(settings.home, owner)
    path = settings.home / "patroni.yml"
    account.own_file(path, text, owner)
    # Copied to where its account can read it, wherever this is installed.
    start = program(settings)
    account.own_file(start, START.read_text(), owner)
    account.become(owner, [PYTHON, "-P", str(start), str(path)], {}, settings.home)


def program(settings: DatabaseSettings) -> Path:
    """The script that runs as Patroni: by it the process is known."""
    return settings.home / START.name


def secrets(settings: DatabaseSettings) -> dict[str, str]:
    """Every secret that the configuration holds. Raises SettingsError naming the absent one."""
    found = {name: settings.secret(name) for name in SECRETS}
    for name, value in found.items():
        if not value:
            raise SettingsError(f"secret {name}: {settings.secrets_dir / name}: is empty")
    found["rest"] = settings.rest_password()
    path = settings.secrets_dir / "consul_token"
    if path.exists():
        found["consul_token"] = settings.secret("consul_token")
    return found


def configuration(settings: DatabaseSettings, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Patroni's configuration file (JSON is YAML). Source: Patroni 3.0's documentation."""
    s = settings
    registry = urlsplit(s.registry)
    consul: dict[str, Any] = {
        "host": f"{registry.hostname}:{registry.port or 8500}",
        "scheme": registry.scheme,
        "register_service": False,
        # A session that ends with its host, within a second; what else may end it does the agent.
        "checks": ["serfHealth"],
    }
    if "consul_token" in secrets:
        consul["token"] = secrets["consul_token"]
    return {
        "scope": s.cluster,
        "name": s.server,
        "restapi": {
            "listen": f"{bracketed(s.address)}:{s.rest_port}",
            "connect_address": f"{bracketed(s.address)}:{s.rest_port}",
            "authentication": {"username": REST_USER, "password": secrets["rest"]},
        },
        "consul": consul,
        "bootstrap": {
            "dcs": dynamic(settings),
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C.UTF-8"},
                "data-checksums",
                {"auth-host": "scram-sha-256"},
                {"auth-local": "scram-sha-256"},
            ],
        },
        "postgresql": {
            "listen": f"{s.address}:{s.port}",
            "connect_address": f"{bracketed(s.address)}:{s.port}",
            "data_dir": str(s.postgres_dir),
            "bin_dir": str(PROGRAMS),
            "pgpass": str(s.home / "pgpass"),
            "authentication": {
                "superuser": {
                    "username": SUPERUSER,
                    "password": secrets["database_superuser_password"],
                },
                "replication": {
                    "username": REPLICATOR,
                    "password": secrets["database_replication_password"],
                },
            },
            # Without it a new standby waits for a checkpoint that is spread over minutes.
            "basebackup": [{"checkpoint": "fast"}],
            "pg_hba": access(settings),
            "parameters": parameters(settings),
            # What a returning primary alone has was never acknowledged (synchronous mode), so it
            # may be thrown away without asking anybody.
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
        },
        "watchdog": {"mode": "off"},
    }


def dynamic(settings: DatabaseSettings) -> dict[str, Any]:
    """What Patroni keeps in Consul for all hosts; times in seconds, PostgreSQL's in ms.

    Both standbys are synchronous: either may take over, and the one beside the VIP can be chosen.
    When one is gone, Patroni goes on with the other, and then with none.
    """
    standbys = max(1, len(settings.hosts) - 1)
    return {
        "ttl": 20,
        "loop_wait": 1,
        # Longer than Consul is without a leader when that dies (2.8 to 3.6 s): a primary that
        # cannot renew its key for so long steps down.
        "retry_timeout": 8,
        "maximum_lag_on_failover": 1048576,
        # A crashed primary has this long to recover where it is.
        "primary_start_timeout": 10,
        "synchronous_mode": True,
        "synchronous_node_count": standbys,
        # Consul away, members there: the primary stays what it is.
        "failsafe_mode": True,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {
                "wal_level": "replica",
                "hot_standby": "on",
                "max_connections": settings.max_connections,
                "max_wal_senders": 10,
                "max_replication_slots": 10,
                "wal_keep_size": "512MB",
                "wal_sender_timeout": 1000,
                "wal_receiver_timeout": 1000,
            },
        },
    }


def parameters(settings: DatabaseSettings) -> dict[str, Any]:
    """PostgreSQL's parameters of this host."""
    return {
        "shared_buffers": f"{settings.shared_buffers}MB",
        # No socket: its path would be too long, and everybody says who he is.
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        # A standby that is away must not fill the primary's disk.
        "max_slot_wal_keep_size": "4GB",
        # Locks of a client whose host died are given back.
        "tcp_keepalives_idle": 2,
        "tcp_keepalives_interval": 1,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 5000,
        "idle_in_transaction_session_timeout": 30000,
        "client_connection_check_interval": 2000,
        "log_min_duration_statement": 1000,
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }


def access(settings: DatabaseSettings) -> list[str]:
    """``pg_hba.conf``: the cluster's own hosts, by password; nobody else gets as far as one.

    The VIP is among them: its holder may connect from it.
    """
    own = [*settings.hosts.values(), settings.address, "127.0.0.1", "::1"]
    own += [each.partition("/")[0] for each in (settings.vip, settings.vip6) if each]
    lines: list[str] = []
    for address in dict.fromkeys(own):
        network = f"{address}/{128 if ':' in address else 32}"
        lines.append(f"host replication {REPLICATOR} {network} scram-sha-256")
        lines.append(f"host all all {network} scram-sha-256")
    return lines
