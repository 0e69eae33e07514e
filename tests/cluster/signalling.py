"""Call Managers, a media server and a database on a lab's hosts, for calls over a take-over.

The VIP is moved by hand: what is tested is what becomes of calls, not who decides that.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from services.call_manager.continuity import LASTS
from services.call_manager.control import OVER
from services.core.configuration import Alerts, encode
from services.core.menus import Menu
from tests.cluster.lab import Host, Lab, Process, lab
from tests.cluster.signalling_documents import (
    CALLS,
    CHANNELS,
    CLUSTER,
    DOMAIN,
    USERS,
    documents,
    users,
)
from tests.integration.calls.party import Party
from tests.support.sip_client import Connection, Stream, WebSocket
from tests.support.transactions import TransactionalUdp

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-the-test"
POSTGRES = "postgres"
CARRIERS = {"udp": 241, "tcp": 242}
"""Where they are on the network."""


class Listening(Stream):
    """A carrier on TCP: it calls us by a connection of its own, and listens where its Via says."""

    def __init__(self, server: str, address: str) -> None:
        super().__init__(server, address)
        self._listener = socket.create_server((address, 0))
        self.port = self._listener.getsockname()[1]

    def accept(self, seconds: float = 15) -> None:
        """Go on with the connection that the other side opens."""
        self._listener.settimeout(seconds)
        opened, _ = self._listener.accept()
        self._socket.close()
        self._socket, self._buffer = opened, b""

    def close(self) -> None:
        self._listener.close()
        super().close()


class Signalling:
    """``managers`` are the hosts cm1 and cm2; ``m1`` has the media server and the database.

    ``menus`` are its tenant's, by extension; it may have ``calls`` at a time, and ``channels`` of
    carrier ``udp``.
    """

    menus: Mapping[str, Menu] = {}
    alerts = Alerts()
    calls, channels = CALLS, CHANNELS

    def __init__(self, network: Lab) -> None:
        self.network = network
        self.managers = [network["cm1"], network["cm2"]]
        self.infra, self.outside = network["m1"], network["phones"]
        self.vip = network.vip
        self.holder: Host | None = None
        self._next = iter(range(20, 240))
        self._opened: list[Connection] = []
        self._tasks: dict[tuple[str, str], Process] = {}
        self._secrets = network.directory / "secrets"
        self._secrets.mkdir()
        (self._secrets / "cluster_key").write_text("5e" * 32)
        (self._secrets / "admin_token").write_text(TOKEN)
        (self._secrets / "database_password").write_text("none")
        self.database_url = f"postgresql://{POSTGRES}@{self.infra.address}:5432/postgres"
        self._start_database()

    # --- setting up
    def _start_database(self) -> None:
        directory = self.infra.directory / "postgresql"
        directory.mkdir()
        account = pwd.getpwnam(POSTGRES)
        for path in (self.network.directory, self.infra.directory):
            path.chmod(0o755)
        os.chown(directory, account.pw_uid, account.pw_gid)
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        data = directory / "data"
        subprocess.run(
            ["setpriv", *become, programs / "initdb", "-D", data, "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=directory,
        )
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        options = ["-k", directory, "-h", self.infra.address, "-F", "-c", "max_connections=100"]
        self.infra.start(
            ["setpriv", *become, programs / "postgres", "-D", data, *options], name="postgresql"
        )

        def answers() -> bool:
            with self.infra.socket(kind=socket.SOCK_STREAM) as probe:
                return probe.connect_ex((self.infra.address, 5432)) == 0

        self.wait(answers, "the database", 60)

    def environment(self, host: Host, role: str, **more: str) -> dict[str, str]:
        run = host.directory / f"run-{role}"
        run.mkdir(exist_ok=True)
        meta = {
            "cluster": CLUSTER,
            "server": host.name,
            "release": "1",
            "registry": "http://127.0.0.1:8500",
            "address": host.address,
            "data_dir": str(host.directory / f"data-{role}"),
            "secrets_dir": str(self._secrets),
            **more,
        }
        return {"NOMAD_ALLOC_DIR": str(run), "PYTHONPATH": str(ROOT)} | {
            f"NOMAD_META_{name.upper()}": value for name, value in meta.items()
        }

    def manager_environment(self, host: Host) -> dict[str, str]:
        return self.environment(
            host,
            "cm",
            vip=self.vip,
            database_url=self.database_url,
            workers="2",
            shared_memory="128",
            managers=self._peers(),
        )

    def _peers(self) -> str:
        return ",".join(f"{each.name}={each.address}" for each in self.managers)

    def task(self, host: Host, role: str, task: str) -> Process:
        env = self.manager_environment(host)
        if role == "media":
            recordings = host.directory / "recordings"
            recordings.mkdir(exist_ok=True)
            env = self.environment(
                host,
                "media",
                media_address=host.address,
                recordings_dir=str(recordings),
                managers=self._peers(),
            )
            Path(env["NOMAD_META_DATA_DIR"]).mkdir(exist_ok=True)
        process = host.start(
            [sys.executable, "-m", f"services.{role}", task], env=env, name=f"{role}-{task}"
        )
        self._tasks[host.name, task] = process
        return process

    def start(self) -> None:
        """All of it, up to where a call can be made."""
        trio.run(self.network.consul_ready)
        for task in ("rtpengine", "agent"):
            self.task(self.infra, "media", task)
        for host in self.managers:
            self._prepare(host)
        trio.run(self._configure)
        for host in self.managers:
            self.start_manager(host)
        for host in self.managers:
            self.wait(lambda host=host: self.api(host, "/v1/configuration"), "an agent", 60)
        found = b"".join(encode(each) + b"\n" for each in users())
        self.api(self.managers[0], "/v1/tenants/sales/users", "PUT", found)
        self.take(self.managers[0])
        for host in self.managers:
            self.wait(lambda host=host: self._usable(host), f"{host.name} to have all it needs", 90)

    def _prepare(self, host: Host) -> None:
        subprocess.run(
            host.command([sys.executable, "-m", "services.call_manager", "prepare"]),
            env=host.environment() | self.manager_environment(host),
            check=True,
            timeout=120,
        )

    def start_manager(self, host: Host) -> None:
        for task in ("agent", "kamailio"):
            self.task(host, "call_manager", task)

    async def _configure(self) -> None:
        udp, tcp = (self.network.address(host) for host in CARRIERS.values())
        found = documents(udp, tcp, self.menus, self.alerts, self.calls, self.channels)
        async with self.infra.http() as http:
            for name, raw in found.items():
                answer = await http.put(f"/v1/kv/pbx/{CLUSTER}/config/{name}", content=raw)
                answer.raise_for_status()

    def _usable(self, host: Host) -> bool:
        found = self.api(host, "/v1/configuration")
        states = [media["state"] for media in found["media"]] if found else []
        health = self.api(host, "/health", good=(200, 503))
        problems = health["problems"] if health else ["no answer"]
        users = self.api(host, "/v1/tenants")
        return (
            states == ["up"]
            and not problems
            and users[0]["users"] == len(USERS)
            and bool(self.rpc(host, "core.uptime"))
        )

    # --- the VIP
    def take(self, host: Host) -> None:
        """Put the VIP on this host, as the holder does; everybody learns where it is."""
        _ip(host, "addr", "add", f"{self.vip}/24", "dev", host.interface)
        self.holder = host
        for each in self.network.hosts.values():
            if each is not host and each.on:
                _ip(each, "neigh", "flush", "all")

    def give_up(self) -> None:
        assert self.holder
        _ip(self.holder, "addr", "del", f"{self.vip}/24", "dev", self.holder.interface)
        self.holder = None

    def fail_over(self) -> Host:
        """Cut the holder's power, and have another one take the VIP; which one."""
        dead = self.holder
        assert dead
        dead.power_off()
        heir = next(host for host in self.managers if host.on)
        self.take(heir)
        return heir

    def bring_back(self) -> None:
        """Power on what is off, and wait until it has caught up."""
        for host in self.managers:
            if not host.on:
                host.power_on()
                self.start_manager(host)
                self.wait(lambda host=host: self._usable(host), f"{host.name} to be back", 90)

    # --- asking
    def rpc(self, host: Host, method: str, *parameters: Any) -> Any:
        """What a host's Kamailio says; None if nothing."""
        here = host.directory / f"rpc{time.monotonic_ns() % 10**9}"
        server = host.directory / "run-cm" / "kamailio.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(here))
            client.settimeout(2)
            request = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1}
            try:
                client.sendto(json.dumps(request).encode(), str(server))
                return json.loads(client.recv(1 << 20)).get("result")
            except OSError:
                return None
            finally:
                here.unlink()

    def table(self, host: Host, name: str) -> dict[str, str]:
        rows = self.rpc(host, "htable.dump", name) or []
        return {slot["name"]: str(slot["value"]) for row in rows for slot in row["slot"]}

    def counters(self, host: Host) -> dict[str, int]:
        """What routing counts at a host, its own and what it was told; zeros left out."""
        total: dict[str, int] = {}
        for name in ("calls", "elsewhere"):
            for key, value in self.table(host, name).items():
                total[key] = total.get(key, 0) + int(value)
        return {key: value for key, value in total.items() if value}

    def api(
        self,
        host: Host,
        path: str,
        method: str = "GET",
        body: bytes = b"",
        good: Sequence[int] = (200,),
    ) -> Any:
        """The JSON that a host's agent answers; None if it does not, or something else."""
        connection = http.client.HTTPConnection(host.address, 7080, timeout=20)
        try:
            connection.sock = host.socket(kind=socket.SOCK_STREAM)
            connection.sock.settimeout(20)
            connection.sock.connect((host.address, 7080))
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text) if answer.status in good else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def bindings(self, host: Host, extension: str) -> list[Any]:
        """A user's contacts in the memory of a host's Kamailio."""
        found = self.rpc(host, "ul.lookup", "location", f"{extension}@sales")
        return [row["Contact"] for row in found["Contacts"]] if found else []

    def is_dropped(self, host: Host, call_id: str) -> bool:
        """Whether a host's Kamailio has no dialog of this call that lives."""
        found = self.rpc(host, "dlg.dlg_list", call_id) or []
        rows = found if isinstance(found, list) else [found]
        return all(int(row["state"]) == OVER for row in rows)

    def up(self, host: Host) -> dict[str, Any]:
        """Calls that are up as a host's agent sees them, by Call-ID."""

        def asked() -> tuple[Any] | None:
            found = self.api(host, "/v1/calls")
            return None if found is None else (found,)

        (found,) = self.wait(asked, f"the calls of {host.name}")
        return {call["id"]: call for call in found}

    def records(self, call_id: str, host: Host | None = None) -> list[Any]:
        asked = host or self.holder
        assert asked
        return self.api(asked, f"/v1/events?call={call_id}") or []

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited {seconds:g} s for {what}\n{self.network.logs(60)}")

    def known(self, call_id: str, state: str = "answered") -> None:
        """Wait until every Call Manager that runs knows of a call.

        Who speaks in it, too, which an agent tells its Kamailio five times a second: sooner than
        the VIP ever moves by itself.
        """

        def so() -> bool:
            for host in self.managers:
                if not host.on:
                    continue
                call = self.up(host).get(call_id)
                if call is None:
                    return False
                if state == "answered" and (
                    call["answered"] is None
                    or (host is not self.holder and call_id not in self.table(host, "parties"))
                ):
                    return False
            return True

        self.wait(so, f"all to know that {call_id} is {state}")

    def one_record(self, call_id: str, **expected: Any) -> Any:
        """Wait for the record of a call, and that there is nothing left of it anywhere."""
        found = self.wait(lambda: self.records(call_id), f"a record of {call_id}")
        assert len(found) == 1, found
        for name, value in expected.items():
            assert found[0][name] == value, found
        for host in self.managers:
            if host.on:
                self.wait(lambda host=host: call_id not in self.up(host), f"{call_id} to be over")
        return found[0]

    def idle(self) -> None:
        """Every counter of every host is back at zero."""
        for host in self.managers:
            if host.on:
                try:
                    self.wait(lambda host=host: not self.counters(host), "counters at zero")
                except AssertionError:
                    tables = {name: self.table(host, name) for name in ("calls", "elsewhere")}
                    raise AssertionError(
                        f"{host.name}: {tables}, up: {self.up(host)}\n{self.network.logs(40)}"
                    ) from None

    def failures(self) -> str:
        """Python errors in what Kamailios and agents wrote."""
        found = ""
        for path in self.network.directory.glob("cm*/call_manager-*.log"):
            text = path.read_text(errors="replace")
            for word in ("routing failed", "Traceback"):
                if word in text:
                    found += f"{path.name}: " + text[text.index(word) :][:3000]
        return found

    # --- phones
    def phone(self, extension: str, *, over: str = "udp", register: bool = True) -> Party:
        """A phone at an address of its own on the host ``phones``."""
        connection = self.connect(self.outside_at(next(self._next)), over)
        party = Party(connection, extension, DOMAIN)
        if register:
            party.register()
        return party

    def outside_at(self, number: int) -> str:
        """The host ``phones`` has this address of the network, too; which."""
        address = self.network.address(number)
        _ip(self.outside, "addr", "replace", f"{address}/24", "dev", self.outside.interface)
        return address

    def carrier(self, over: str = "udp") -> Party:
        """The carrier of this name, at its address."""
        address = self.outside_at(CARRIERS[over])
        with self.outside.inside():
            connection = (
                TransactionalUdp(self.vip, address)
                if over == "udp"
                else Listening(self.vip, address)
            )
        self._opened.append(connection)
        return Party(connection, "carrier", DOMAIN)

    def reconnect(self, party: Party, late: float = 0.0) -> None:
        """A phone whose connection is reset makes a new one and registers again, as phones do.

        ``late``: so many seconds later, as those do that have not noticed.
        """
        time.sleep(late)
        over = party.connection.transport.lower()
        party.connection.close()
        party.connection = self.connect(party.connection.address, over)
        fresh = Party(party.connection, party.extension, party.domain)
        party.contact, party._via = fresh.contact, fresh._via
        party.register()

    def connect(self, address: str, over: str) -> Connection:
        with self.outside.inside():
            connection: Connection
            if over == "udp":
                connection = TransactionalUdp(self.vip, address)
            elif over == "wss":
                connection = WebSocket(self.vip, address)
            else:
                connection = Stream(self.vip, address, tls=over == "tls")
        self._opened.append(connection)
        return connection

    def wait_for_lapse(self) -> None:
        """Longer than what an agent last said to its Kamailio holds."""
        time.sleep(LASTS + 2)

    def forget_calls(self) -> None:
        """End what a failed test left."""
        if self.holder:
            for call in self.up(self.holder):
                self.api(self.holder, f"/v1/calls/{call}", "DELETE")

    def clear(self) -> None:
        """As after a start: all hosts up, no phone registered, no call."""
        self.bring_back()
        self.forget_calls()
        self.hang_up_all()
        for host in self.managers:
            for extension in USERS:
                self.rpc(host, "ul.rm", "location", f"{extension}@sales")

    def hang_up_all(self) -> None:
        for connection in self._opened:
            with suppress(OSError):
                connection.close()
        self._opened.clear()


def _ip(host: Host, *words: str) -> None:
    subprocess.run(
        ["ip", "-n", host.namespace, *words], check=True, capture_output=True, timeout=10
    )


@contextmanager
def signalling() -> Iterator[Signalling]:
    """A cluster that runs, and is gone afterwards."""
    with lab(consul=("cm1", "cm2", "m1"), plain=("phones",)) as network:
        made = Signalling(network)
        made.start()
        try:
            yield made
        finally:
            made.hang_up_all()
