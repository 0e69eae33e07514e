"""A whole PBX for tests: a spec made for the test, brought up by `pbxctl apply`, gone afterwards.

Each has a loopback network of its own, so several run side by side with their standard ports. It is
driven by the command line, as an operator would, and `Pbx.destroy` asserts that nothing is left.
"""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from pbxctl.probe import protocol
from tests.support.hosts import loopback_network
from tests.support.phones import Phone, phone

TENANT = "acme"
DOMAIN = "acme.example"
EXTENSIONS = tuple(str(number) for number in range(2001, 2011))
APPLY = 180.0
COMMAND = 90.0

Spec = dict[str, Any]


def password(extension: str) -> str:
    return f"secret-of-{extension}"


def spec(network: str, registry_port: int, *, media: int, users: Sequence[str]) -> Spec:
    """The least that makes calls: one Call Manager, some media servers, one tenant."""
    return {
        "cluster": "test",
        "engine": "local",
        "network": {
            "vip": f"{network}.1",
            "media": {"from": 20000, "to": 20999},
            "ports": {"registry": registry_port},
        },
        "servers": [
            {
                "name": "cm1",
                "address": f"{network}.1",
                "roles": ["call-manager"],
                "capacity": {"calls": 100, "workers": 2, "shared_memory": "128MiB"},
            },
            *(media_server(network, number) for number in range(1, media + 1)),
        ],
        "tenants": [
            {
                "name": TENANT,
                "domains": [DOMAIN],
                "dialling": {"country": "49"},
                "users": [
                    {"extension": user, "password": {"env": f"PASSWORD_{user}"}} for user in users
                ],
            }
        ],
    }


def media_server(network: str, number: int) -> Spec:
    """The entry of media server ``number``."""
    return {
        "name": f"media{number}",
        "address": f"{network}.{10 + number}",
        "roles": ["media"],
        "capacity": {"calls": 50},
    }


def user(pbx_spec: Spec, extension: str) -> Spec:
    """A user's entry in a spec, to change."""
    users = pbx_spec["tenants"][0]["users"]
    return next(entry for entry in users if entry["extension"] == extension)


class Pbx:
    """A running PBX. ``network`` is its loopback network: hosts are ``{network}.<n>``."""

    def __init__(self, network: str, root: Path, first: Spec) -> None:
        self.network = network
        self.root = root
        self.spec = first
        self.address = f"{network}.1"
        self.state = root / first["cluster"]
        self._next_host = 100

    @property
    def name(self) -> str:
        return str(self.spec["cluster"])

    def server(self, transport: protocol.Transport = "udp") -> str:
        """The URI that phones register to."""
        port = 5061 if transport == "tls" else 5060
        return f"sip:{self.address}:{port};transport={transport}"

    def host(self) -> str:
        """An address of this network that no other phone of this PBX has."""
        self._next_host += 1
        return f"{self.network}.{self._next_host}"

    @property
    def certificate(self) -> Path:
        return self.state / "data" / "cm1" / "call-manager" / "tls" / "cert.pem"

    async def run(
        self, *arguments: str, within: float = COMMAND, succeed: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """``pbxctl arguments``; asserts that it succeeds, and in time."""
        names = [str(u["extension"]) for t in self.spec["tenants"] for u in t.get("users", [])]
        with trio.move_on_after(within):
            done = await trio.run_process(
                [sys.executable, "-m", "pbxctl", *arguments],
                stdin=text.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "PBX_STATE_DIR": str(self.root),
                    "LANG": "C.UTF-8",
                    **{f"PASSWORD_{name}": password(name) for name in names},
                },
            )
            result = subprocess.CompletedProcess(
                done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
            )
            if succeed and result.returncode:
                raise AssertionError(
                    f"pbxctl {' '.join(arguments)}: status {result.returncode}\n"
                    f"{result.stdout}{result.stderr}\n{self.logs()}"
                )
            return result
        command = f"pbxctl {' '.join(arguments)}"
        raise AssertionError(f"{command}: not done in {within:g} s\n{self.logs()}")

    async def apply(self, changed: Spec | None = None) -> str:
        """Make the spec true; what apply said."""
        if changed is not None:
            self.spec = changed
        path = self.root / "spec.yaml"
        # JSON is YAML.
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self.spec)))
        done = await self.run(
            "apply", str(path), "--auto-approve", "--timeout", str(APPLY - 10), within=APPLY
        )
        return done.stdout

    def changed(self) -> Spec:
        """A copy of the spec, to change and apply."""
        return copy.deepcopy(self.spec)

    async def json(self, *arguments: str) -> Any:
        """What a command prints under ``--json``."""
        return msgspec.json.decode((await self.run(*arguments, "--json")).stdout)

    async def destroy(self) -> None:
        """Stop it; asserts that nothing of it is left."""
        await self.run("destroy", "--auto-approve")
        assert not self.state.exists(), sorted(self.state.rglob("*"))
        left = [line for line in _processes() if self._mine(line)]
        assert not left, "\n".join(left)

    def logs(self, lines: int = 40) -> str:
        """The end of what every task wrote."""
        parts: list[str] = []
        for path in sorted(self.state.glob("logs/*/*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts += [f"== {path.relative_to(self.state)}", *tail]
        return "\n".join(parts)

    def token(self) -> str:
        return (self.state / "secrets" / "admin_token").read_text().strip()

    async def admin(self, path: str, *, method: str = "GET", **options: Any) -> Any:
        """The Call Manager's admin API."""
        async with httpx.AsyncClient(
            base_url=f"http://{self.address}:7080",
            headers={"Authorization": f"Bearer {self.token()}"},
            trust_env=False,
        ) as client:
            answer = await client.request(method, path, **options)
            assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
            return answer.json() if answer.content else None

    def processes(self, program: str, *words: str) -> list[int]:
        """Process ids of this PBX by program, and by what their command lines contain."""
        found = [line.split(" ") for line in _processes() if self._mine(line)]
        return [
            int(pid)
            for pid, command, *arguments in found
            if Path(command).name == program and all(word in " ".join(arguments) for word in words)
        ]

    def _mine(self, line: str) -> bool:
        return str(self.root) in line or f"{self.network}." in line

    @asynccontextmanager
    async def phone(
        self,
        extension: str,
        *,
        voice: int = 0,
        transport: protocol.Transport = "udp",
        codecs: tuple[str, ...] = protocol.CODECS,
        encryption: protocol.Encryption = "none",
        registered: bool = True,
    ) -> AsyncGenerator[Phone]:
        """A phone of an extension, at an address of its own."""
        async with phone(
            extension,
            DOMAIN,
            voice=voice,
            transport=transport,
            address=self.host(),
            codecs=codecs,
            ca_file=str(self.certificate) if transport == "tls" else "",
        ) as made:
            if registered:
                answer = await made.register(
                    self.server(transport), password(extension), encryption=encryption
                )
                assert answer.code == 200, made.describe(f"{answer}\n{self.logs()}")
            yield made


@contextmanager
def pbx(
    *,
    media: int = 2,
    users: Sequence[str] = EXTENSIONS,
    edit: Callable[[Spec], None] = lambda _: None,
) -> Iterator[Pbx]:
    """A healthy PBX; ``edit`` changes its spec first.

    Not async, so that a fixture may keep it for a whole module; its methods are for any trio run.
    """
    with loopback_network() as network, tempfile.TemporaryDirectory(prefix="pbx-") as root:
        first = spec(network, _free_port(), media=media, users=users)
        edit(first)
        running = Pbx(network, Path(root), first)
        try:
            trio.run(running.apply)
            yield running
        except BaseException:
            trio.run(partial(running.run, "destroy", "--auto-approve", succeed=False))
            raise
        trio.run(running.destroy)


def _free_port() -> int:
    """Of 127.0.0.1, where the local engine's registry is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _processes() -> list[str]:
    """Command lines of all processes but this one's own."""
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if "pytest" not in line:
            lines.append(f"{path.parent.name} {line}")
    return lines
