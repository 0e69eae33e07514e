"""A Call Manager's Kamailio as the job runs it, on loopback: settings, tables, database, TLS."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from services.call_manager import certificate
from services.call_manager.routing import launch
from services.call_manager.settings import CallManagerSettings
from services.call_manager.tables import Picture, TablesWriter
from services.core.configuration import Cluster, Security, Tenant, Trunk, User, ha1
from services.core.settings import META, from_environment
from services.core.store.database import Database
from services.core.store.migrate import migrate

REALM = "sales.example"
PASSWORD = "correct-horse"
KEY = "11" * 32


def user(extension: str, *, tenant: str = "sales", realm: str = REALM, **more: Any) -> User:
    """A user whose password is `PASSWORD`."""
    return User(
        tenant=tenant,
        extension=extension,
        ha1_md5=ha1(extension, realm, PASSWORD, "MD5"),
        ha1_sha256=ha1(extension, realm, PASSWORD, "SHA-256"),
        **more,
    )


TENANTS = (
    Tenant(name="sales", domains=(REALM, "second.sales.example")),
    # The domains that RFC 4475 uses: its requests are then for us, as the RFC means them.
    Tenant(name="torture", domains=("example.com", "example.net", "example.org")),
)
USERS = (
    *(user(str(extension)) for extension in range(1001, 1010)),
    user("1010", enabled=False),
    user("user", tenant="torture", realm="example.com"),
)


class CallManager:
    """One Kamailio under test. ``network`` is its ``127.x.y``; it listens on ``.1``."""

    def __init__(self, root: Path, network: str, **settings: str) -> None:
        self.root, self.network, self.address = root, network, f"{network}.1"
        self.log_file = root / "log"
        self.meta = {
            "cluster": "test",
            "server": "cm1",
            "release": "0",
            "registry": "http://127.0.0.1:9",
            "address": self.address,
            "vip": self.address,
            "data_dir": str(root / "data"),
            "secrets_dir": str(root / "secrets"),
            "database_url": f"sqlite:///{root}/data/pbx.db",
            "workers": "2",
            "shared_memory": "256",
        } | settings
        (root / "data" / "tls").mkdir(parents=True)
        (root / "secrets").mkdir()
        (root / "secrets" / "cluster_key").write_text(KEY)
        (root / "secrets" / "admin_token").write_text("token")
        environment = {META + name.upper(): value for name, value in self.meta.items()}
        self.environment = environment | {"NOMAD_ALLOC_DIR": str(root)}
        self.settings = from_environment(CallManagerSettings, self.environment)
        certificate.ensure(
            self.settings.tls_dir, (self.address,), datetime.datetime.now(datetime.UTC)
        )
        database = Database(self.settings.database_url)
        migrate(database)
        database.close()
        self.tables = TablesWriter(self.settings.tables_dir)
        self.configure(Security())
        self.tables.load_users(USERS)
        self.settings.spool_dir.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, security: Security, *, max_calls: int = 0, trunk: str = "") -> None:
        """Put new settings in force. ``trunk`` is the address of a carrier."""
        trunks = (Trunk(name="carrier", host=trunk, addresses=(trunk,)),) if trunk else ()
        cluster = Cluster(name="test", security=security, max_calls=max_calls)
        self.tables.write(Picture(cluster=cluster, tenants=TENANTS, trunks=trunks))

    def start(self) -> None:
        """Start it and wait until it answers. Raises AssertionError with its log if it does not."""
        environment = launch.environment(self.settings, os.environ | self.environment)
        self.settings.kamailio_rpc.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                launch.arguments(self.settings),
                executable=shutil.which("kamailio"),
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_for(self._answers, "Kamailio to answer", 60)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; every one of its processes is gone afterwards."""
        process, self._process = self._process, None
        if process is None:
            return
        if how is signal.SIGKILL:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(how)
        try:
            process.wait(20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        """What ``condition()`` gives as soon as it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            assert self._process is None or self._process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s for {what}\n{self.log()}")

    def _answers(self) -> bool:
        # The process that accepts connections is the last one to be made.
        processes = self.rpc("core.psx") if self.settings.kamailio_rpc.exists() else None
        return any(process["DSC"] == "tcp main process" for process in processes or ())

    def rpc(self, method: str, *parameters: Any) -> Any:
        """What Kamailio's JSON-RPC gives; None if it has no answer."""
        here = self.root / f"rpc{time.monotonic_ns() % 10**9}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(here))
            client.settimeout(2)
            request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
            try:
                client.sendto(json.dumps(request).encode(), str(self.settings.kamailio_rpc))
                answer = json.loads(client.recv(1 << 20))
            except OSError:
                return None
            finally:
                here.unlink()
        return answer.get("result")

    def banned(self) -> list[str]:
        """The sources in the ban table."""
        entries = self.rpc("htable.dump", "ipban") or []
        return [slot["name"] for entry in entries for slot in entry["slot"]]

    def contacts(self, extension: str, tenant: str = "sales") -> list[dict[str, Any]]:
        """The bindings of a user, as Kamailio shows them."""
        found = self.rpc("ul.lookup", "location", f"{extension}@{tenant}")
        return [row["Contact"] for row in found["Contacts"]] if found else []

    def pids(self) -> set[int]:
        """Kamailio's processes."""
        return {process["PID"] for process in self.rpc("core.psx") or ()}

    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text(errors="replace")

    def failures(self) -> list[str]:
        """The tracebacks of our Python in what Kamailio wrote."""
        return [
            text.partition("\n\n")[0][:3000] for text in self.log().split("routing failed: ")[1:]
        ]

    def close(self) -> None:
        self.stop()
        self.tables.close()


@contextmanager
def call_manager(network: str, **settings: str) -> Iterator[CallManager]:
    """A Call Manager that runs, and is gone afterwards with all it wrote."""
    # Unix sockets have short paths, pytest's own directories long ones.
    with tempfile.TemporaryDirectory(prefix="pbx") as root:
        manager = CallManager(Path(root), network, **settings)
        try:
            manager.start()
            yield manager
        finally:
            manager.close()
