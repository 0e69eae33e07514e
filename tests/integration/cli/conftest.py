"""A real cluster on the local engine, driven by `pbxctl` as an operator would: as a program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosts import loopback_network

SPEC = """\
cluster: it
engine: local
network:
  vip: NETWORK.1
  media: {from: 20000, to: 20999}
  ports: {registry: REGISTRY}
servers:
  - {name: pbx1, address: NETWORK.1, roles: [call-manager], capacity: {workers: 2, shared_memory: 64MiB}}
  - {name: m1, address: NETWORK.11, roles: [media], capacity: {calls: 50}}
trunks:
  carrier:
    peer: "sip:NETWORK.99:5060"
    register: {username: acme, password: {env: CARRIER_PASSWORD}}
    options_interval: 0s
tenants:
  - name: sales
    domains: [sales.example]
    users:
      - {extension: "2001", name: Anna, password: {env: ANNA_PASSWORD}}
      - {extension: "2002", name: Ben, password: {env: BEN_PASSWORD}}
    ring_groups:
      desk: {members: ["2001", "2002"]}
"""  # noqa: E501  one server a line, as people write it
SECRETS = {
    "CARRIER_PASSWORD": "carrier-swordfish",
    "ANNA_PASSWORD": "anna-swordfish",
    "BEN_PASSWORD": "ben-swordfish",
}


class Operator:
    """Somebody at a shell with a spec and a state directory."""

    def __init__(self, directory: Path, network: str) -> None:
        self.directory = directory
        self.network = network
        self.state = directory / "s"
        self.spec = directory / "it.yaml"
        self.text = SPEC.replace("NETWORK", network).replace("REGISTRY", str(free_port()))
        self.write(self.text)

    def write(self, text: str) -> None:
        """Edits the spec."""
        self.spec.write_text(text)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **SECRETS, "PBX_STATE_DIR": str(self.state)}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A `pbxctl` that goes on by itself; in a session of its own, as a shell's job is."""
        return subprocess.Popen(
            [sys.executable, "-m", "pbxctl", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(
        self, *arguments: str, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A `pbxctl` that has ended."""
        return subprocess.run(
            [sys.executable, "-m", "pbxctl", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            check=False,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Its standard output; it must have ended well."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def json(self, *arguments: str, stdin: str = "") -> Any:
        """Its result."""
        return json.loads(self.ok(*arguments, "--json", stdin=stdin))

    def apply(self) -> Any:
        """Applies the spec."""
        return self.json("apply", str(self.spec), "--auto-approve", "--timeout", "100")

    def processes(self) -> dict[int, str]:
        """Processes that belong to the state directory, by their command line or environment."""
        mark = str(self.directory).encode()
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                if mark in command or mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def logs(self) -> str:
        """The end of every log, for a test that failed."""
        return "\n".join(
            f"== {log.name} of {log.parent.name}\n{log.read_text()[-2000:]}"
            for log in sorted(self.state.glob("*/logs/*/*.log"))
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def at_work() -> Iterator[Operator]:
    """An operator; whatever is left of what he started ends with him."""
    # Short, because sockets below it may have 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="pbx", dir="/tmp"))
    with loopback_network() as network:
        operator = Operator(directory, network)
        try:
            yield operator
        finally:
            operator.run("destroy", str(operator.spec), "--auto-approve")
            for process in operator.processes():
                os.kill(process, signal.SIGKILL)
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def operator() -> Iterator[Operator]:
    """An operator with a spec, and nothing that runs."""
    with at_work() as one:
        yield one


@pytest.fixture(scope="module")
def running() -> Iterator[Operator]:
    """An operator whose spec is in force, for all tests of a file."""
    with at_work() as one:
        one.apply()
        yield one
