"""The two routings that are compared: the Call Manager's, and plain Kamailio configuration."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.processes import Engine, engine, wait_for
from services.call_manager import certificate
from services.call_manager.routing import launch
from services.call_manager.settings import CallManagerSettings
from services.call_manager.tables import MediaServer, Picture, TablesWriter
from services.core.configuration import Cluster, RateLimit, Security, Tenant, User, ha1
from services.core.settings import META, from_environment
from services.core.store import media_sets
from services.core.store.database import Database
from services.core.store.migrate import migrate

DOMAIN = "bench.example"
FIRST = 2000
WORKERS = 2
MEDIA_PORTS = (20000, 59999)
_PYTHON = ("app_python3", "include_file", "ksr_tick")
"""What marks the lines of kamailio.cfg that only Python's routing needs."""


class Switch:
    """A running routing with its media server, and where SIPp finds it."""

    media: list[Engine]

    def __init__(self, address: str, directory: Path, kamailio: Engine, rpc: Path) -> None:
        self.address = address
        self.target = f"{address}:5060"
        self.directory = directory
        self.kamailio = kamailio
        self._rpc = rpc
        self._ids = itertools.count(1)

    def rpc(self, method: str, *parameters: Any) -> Any:
        """The result of a JSON-RPC call; raises OSError where Kamailio does not answer."""
        here = self.directory / f"rpc{next(self._ids)}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(here))
            client.settimeout(5)
            try:
                request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
                client.sendto(json.dumps(request).encode(), str(self._rpc))
                return json.loads(client.recv(1 << 20)).get("result")
            finally:
                here.unlink()

    def answers(self) -> bool:
        try:
            return bool(self.rpc("core.uptime"))
        except OSError:
            return False

    def errors(self) -> list[str]:
        """What went wrong with a message: a routing that skips its work is no peer."""
        log = self.kamailio.log.read_text(errors="replace")
        return [line for line in log.splitlines() if " ERROR: {" in line]

    def open_calls(self) -> int:
        """Dialogs that are confirmed."""
        return int(self.rpc("dlg.stats_active")["ongoing"])

    def contacts(self) -> int:
        """Bindings in memory."""
        found = self.rpc("stats.get_statistics", "usrloc:")
        return next(int(line.split("=")[1]) for line in found if "location_contacts" in line)


@contextmanager
def switch(
    kind: str, network: str, users: int, shared_memory: int = 512, media_servers: int = 1
) -> Iterator[Switch]:
    """``kind`` is ``python`` or ``plain``; both have the same users. Plain has one rtpengine."""
    with tempfile.TemporaryDirectory(prefix="pbxb") as name, ExitStack() as stack:
        directory = Path(name)
        media = [f"{network}.{20 + n}" for n in range(media_servers)]
        engines = [stack.enter_context(_rtpengine(directory, address)) for address in media]
        start = _python if kind == "python" else _plain
        running = stack.enter_context(start(directory, f"{network}.1", media, users, shared_memory))
        running.media = engines
        yield running


@contextmanager
def _rtpengine(directory: Path, address: str) -> Iterator[Engine]:
    command = [
        "rtpengine", "--config-file=none", "--table=-1", "--foreground", "--log-stderr",
        "--log-level=3", f"--interface={address}", f"--listen-ng={address}:2223",
        # Calls here carry no RTP; they must not be ended for it.
        "--timeout=7200", "--silent-timeout=7200",
        f"--port-min={MEDIA_PORTS[0]}", f"--port-max={MEDIA_PORTS[1]}",
    ]  # fmt: skip
    with engine(command, directory, f"rtpengine-{address}") as running:
        yield running


@contextmanager
def _plain(
    directory: Path, address: str, media: list[str], users: int, shared_memory: int
) -> Iterator[Switch]:
    """The Call Manager's kamailio.cfg without its Python, and routing in Kamailio's language."""
    with _prepared(directory, address, media, shared_memory) as (settings, environment):
        config = directory / "kamailio.cfg"
        ours = (launch.HERE / "kamailio.cfg").read_text()
        kept = [line for line in ours.splitlines() if not any(word in line for word in _PYTHON)]
        routes = (Path(__file__).parent / "plain" / "routes.cfg").read_text()
        config.write_text("\n".join(kept) + "\n" + routes)
        command = launch.arguments(settings)
        command[command.index("-f") + 1] = str(config)
        with engine(command, directory, "kamailio", environment) as kamailio:
            running = Switch(address, directory, kamailio, settings.kamailio_rpc)
            wait_for(running.answers, "plain Kamailio to answer")
            for n in range(users):
                extension = str(FIRST + n)
                digest = ha1(extension, DOMAIN, f"x{n}", "MD5")
                running.rpc("htable.sets", "users", extension, digest)
            yield running


@contextmanager
def _python(
    directory: Path, address: str, media: list[str], users: int, shared_memory: int
) -> Iterator[Switch]:
    with _prepared(directory, address, media, shared_memory) as (settings, environment):
        fill(settings.tables_dir, media, users)
        command = launch.arguments(settings)
        with engine(command, directory, "kamailio", environment) as kamailio:
            running = Switch(address, directory, kamailio, settings.kamailio_rpc)
            wait_for(running.answers, "the Call Manager's Kamailio to answer")
            yield running


@contextmanager
def _prepared(
    directory: Path, address: str, media: list[str], shared_memory: int
) -> Iterator[tuple[CallManagerSettings, dict[str, str]]]:
    """Settings, database and certificate, as an agent would have made them."""
    secrets = directory / "secrets"
    secrets.mkdir()
    (secrets / "cluster_key").write_text("11" * 32)
    meta = {
        "cluster": "bench", "server": "cm1", "release": "0", "registry": "http://127.0.0.1:9",
        "address": address, "vip": address, "data_dir": str(directory / "data"),
        "secrets_dir": str(secrets), "database_url": f"sqlite:///{directory}/data/pbx.db",
        "workers": str(WORKERS), "shared_memory": str(shared_memory), "capacity": "100000",
    }  # fmt: skip
    environment = {META + name.upper(): value for name, value in meta.items()}
    environment["NOMAD_ALLOC_DIR"] = str(directory)
    settings = from_environment(CallManagerSettings, environment)
    settings.spool_dir.mkdir(parents=True)
    settings.tls_dir.mkdir()
    certificate.ensure(settings.tls_dir, (address,), datetime.datetime.now(datetime.UTC))
    database = Database(settings.database_url)
    migrate(database)
    with database.write() as connection:
        media_sets.put(connection, {n: f"udp:{at}:2223" for n, at in enumerate(media, 1)})
    database.close()
    yield settings, launch.environment(settings, os.environ | environment)


def fill(tables: Path, media: list[str], users: int) -> None:
    """The routing tables of the benchmark: one tenant, its users, its media servers."""
    # Load comes from one address here, so the limits that one phone has do not apply.
    security = Security(digest=("MD5",), rate=RateLimit(requests=1_000_000, burst=1_000_000))
    writer = TablesWriter(tables)
    writer.write(
        Picture(
            cluster=Cluster(name="bench", security=security),
            tenants=(Tenant(name="bench", domains=(DOMAIN,)),),
        )
    )
    writer.write_media(
        MediaServer(name=f"media{n}", set=n, control=f"{at}:2223", announce="", capacity=100_000)
        for n, at in enumerate(media, 1)
    )
    writer.load_users(
        User(
            tenant="bench",
            extension=str(FIRST + n),
            ha1_md5=ha1(str(FIRST + n), DOMAIN, f"x{n}", "MD5"),
            ha1_sha256=ha1(str(FIRST + n), DOMAIN, f"x{n}", "SHA-256"),
        )
        for n in range(users)
    )
    writer.close()
