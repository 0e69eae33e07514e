"""Becomes Kamailio: turns settings into its command line and environment, and is replaced by it."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from services.call_manager.routing.uri import host
from services.call_manager.settings import CallManagerSettings
from services.core.settings import META, SettingsError

HERE = Path(__file__).parent
MODULE_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu/kamailio/modules",
    "/usr/lib/aarch64-linux-gnu/kamailio/modules",
    "/usr/lib64/kamailio/modules",
    "/usr/local/lib64/kamailio/modules",
)
TRUST = "/etc/ssl/certs"
PRIVATE_MEMORY = 16
"""MiB of each process; the default of 8 is short for lists of many contacts."""


def become_kamailio(settings: CallManagerSettings) -> NoReturn:
    """Replace this process by Kamailio. Raises SettingsError where it cannot run at all."""
    program = shutil.which("kamailio")
    if program is None:
        raise SettingsError("kamailio: no such program; install the Debian packages kamailio-*")
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    settings.kamailio_rpc.unlink(missing_ok=True)
    os.execve(program, arguments(settings), environment(settings, os.environ))  # noqa: S606


def arguments(settings: CallManagerSettings) -> list[str]:
    """The command line.

    The VIP's sockets come first: Kamailio sends from the first socket of a protocol where the one a
    request came by does not fit, so that every route set is on the VIP.
    """
    listens: list[str] = []
    advertised = f"/{host(settings.public_address)}" if settings.public_address else ""
    vip6 = settings.vip6.partition("/")[0]
    for address in dict.fromkeys(filter(None, (settings.vip, vip6, settings.address))):
        for protocol, port in (
            ("udp", settings.sip_port),
            ("tcp", settings.sip_port),
            ("tls", settings.tls_port),
            ("tls", settings.wss_port),
        ):
            public = f"{advertised}:{port}" if advertised and address == settings.vip else ""
            listens += ["-l", f"{protocol}:{host(address)}:{port}{public}"]
    if settings.peers:
        listens += ["-l", f"udp:{host(settings.address)}:{settings.dmq_port}"]
    return [
        "kamailio",
        "-DD",
        "-E",
        *("-f", str(HERE / "kamailio.cfg")),
        *("-m", str(settings.shared_memory)),
        *("-M", str(PRIVATE_MEMORY)),
        # The default allocator searches its lists: 15 % of a call's CPU. This one does not.
        *("-x", "tlsf", "-X", "tlsf"),
        *("-n", str(settings.workers)),
        *listens,
        *_definitions(settings),
    ]


def _definitions(settings: CallManagerSettings) -> list[str]:
    """What kamailio.cfg has to know of the other Call Managers; nothing on one machine."""
    if not settings.peers:
        return []
    names = {"PBX_DMQ": settings.address}
    names |= {f"PBX_DMQ_PEER_{n}": peer.address for n, peer in enumerate(settings.peers, 1)}
    found: list[str] = []
    for name, address in names.items():
        found += ["-A", f'{name}="sip:{host(address)}:{settings.dmq_port}"']
    return [*found, "-A", f"PBX_DMQ_PORT={settings.dmq_port}"]


def environment(settings: CallManagerSettings, inherited: Mapping[str, str]) -> dict[str, str]:
    """What kamailio.cfg and the Python in it read; nothing else is handed on but the job's meta.

    And the local engine's mark, by which it finds a task that has lost its executor.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name.startswith((META, "NOMAD_", "LANG", "LC_", "PATH", "TZ", "PBX_TASK_RUN"))
    }
    root = HERE.parents[2]
    return kept | {
        "PYTHONPATH": f"{root}:{sysconfig.get_paths()['purelib']}:{_platlib()}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PBX_TCP_WORKERS": str(max(2, settings.workers)),
        "PBX_MODULES": modules(),
        "PBX_ROUTING": str(HERE / "kamailio.py"),
        "PBX_RPC_SOCKET": str(settings.kamailio_rpc),
        "PBX_DATABASE": database(settings.own_database_url),
        "PBX_CERTIFICATE": str(settings.tls_dir / "cert.pem"),
        "PBX_PRIVATE_KEY": str(settings.tls_dir / "key.pem"),
        "PBX_TRUST": TRUST,
        "PBX_TRUNK_CONTACT": f"{host(settings.public_address or settings.vip)}:{settings.sip_port}",
    }


def database(url: str) -> str:
    """Kamailio's form of an SQLAlchemy URL. Raises SettingsError for another kind than SQLite."""
    # Kamailio's workers import this module for `host`; they have no use for SQLAlchemy's 25,000
    # objects.
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return f"sqlite:///{Path(parsed.database).absolute()}"
    raise SettingsError(f"Kamailio's own tables are in SQLite, not in {parsed.drivername}")


def modules() -> str:
    """Kamailio's module directory. Raises SettingsError if there is none."""
    for directory in MODULE_DIRECTORIES:
        if Path(directory).is_dir():
            return f"{directory}/"
    raise SettingsError("kamailio: no module directory in " + ", ".join(MODULE_DIRECTORIES))


def _platlib() -> str:
    return sysconfig.get_paths()["platlib"]


if __name__ == "__main__":  # pragma: no cover - by hand only
    sys.exit("started by: pbx-call-manager kamailio")
