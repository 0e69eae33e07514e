"""The whole PBX on a lab's hosts: examples/ha-cluster.yaml by `pbxctl apply`, on real Nomad."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from tests.cluster.lab import Host, Lab, lab

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ha-cluster.yaml"
APPLY = 300.0


class WholePbx:
    """``network`` is its lab: hosts as the example's servers, and ``phones``.

    ``spec`` is the example with the lab's addresses; ``state`` is pbxctl's directory and the hosts'
    alike, because files of different hosts lie below different directories there. ``passwords`` are
    the environment variables that the spec names.
    """

    def __init__(self, network: Lab) -> None:
        self.network = network
        self.state = network.directory / "state"
        self.spec = network.directory / "spec.yaml"
        self.spec.write_text(addressed(EXAMPLE.read_text(), network, self.state))
        self.cluster = _first(r"^cluster: *([\w-]+)", self.spec.read_text())
        names = sorted(set(re.findall(r"\{env: *(\w+)\}", self.spec.read_text())))
        self.passwords = {name: secrets.token_urlsafe(12) for name in names}

    @property
    def manager(self) -> Host:
        """A call manager's host that is on, for commands."""
        return next(h for h in self.network.hosts.values() if h.name.startswith("cm") and h.on)

    @property
    def phones(self) -> Host:
        return self.network["phones"]

    def environment(self) -> dict[str, str]:
        """What pbxctl needs to know, on any host."""
        return {"PBX_STATE_DIR": str(self.state), **self.passwords}

    def words(self, *arguments: str) -> list[str]:
        """A command of pbxctl's."""
        return [sys.executable, "-m", "pbxctl", *arguments]

    async def pbxctl(
        self, *arguments: str, on: Host | None = None, check: bool = True, within: float = 60.0
    ) -> CompletedProcess[str]:
        """Run it, by default on a manager. Raises AssertionError with what it said."""
        host = on or self.manager
        return await host.run(
            self.words(*arguments), env=self.environment(), check=check, within=within
        )

    async def begin(self) -> None:
        """Consul and Nomad, then the cluster's secrets as an operator makes them."""
        await self.network.consul_ready()
        await self.network.nomad_ready()
        out = self.network.directory / "out"
        for name in self.network.nomad:
            await self.pbxctl("host-config", name, str(self.spec), "--out", str(out / name))

    def install(self, release: str, *, broken: Sequence[str] = ()) -> None:
        """The same programs once more, beside the others; the spec asks for them from now on.

        A virtual environment as docs/operate.md has it, with the code copied into it. ``broken``
        programs end as soon as they are started.
        """
        place = self.network.directory / "releases" / release
        packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        packages /= "site-packages"
        programs = place / "bin"
        programs.mkdir(parents=True)
        for name in ("services", "pbxctl"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, packages / name, ignore=ignored)
        # What it needs of others is installed once only, and looks as if it were here.
        for needed in Path(sysconfig.get_path("purelib")).iterdir():
            if not re.search(r"pbxctl|\.pth$|^__pycache__$", needed.name):
                (packages / needed.name).symlink_to(needed)
        base = Path(sys.executable).resolve()
        (place / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        python = programs / "python3"
        python.symlink_to(base)
        for name, target in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
            "scripts"
        ].items():
            module, _, function = target.partition(":")
            text = (
                f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            if name in broken:
                text = "#!/bin/sh\nexit 3\n"
            program = programs / name
            program.write_text(text)
            program.chmod(0o755)
        prefix = f"{place.parent}/{{release}}"
        text = self.spec.read_text()
        text = re.sub(r"^  prefix: .*", f"  prefix: {prefix}", text, flags=re.MULTILINE)
        text = re.sub(r"^release: .*\n", "", text, flags=re.MULTILINE)
        self.spec.write_text(f"{text}release: {release}\n")

    async def apply(self) -> str:
        """What apply said."""
        done = await self.pbxctl(
            *("apply", str(self.spec), "--auto-approve", "--timeout", f"{APPLY - 20:.0f}"),
            within=APPLY,
        )
        return done.stdout


def addressed(text: str, network: Lab, state: Path) -> str:
    """The example with the lab's addresses, programs and state, and a menu that waits."""
    for host in network.hosts.values():
        text = re.sub(rf"(name: {host.name}, address: )[\d.]+", rf"\g<1>{host.address}", text)
    place = f"install:\n  prefix: {sys.prefix}\n  state: {state}\n"
    text = re.sub(r"^install:.*\n(?:  .*\n)*", place, text, flags=re.MULTILINE)
    text = text.replace("vip: 10.20.0.10/24", f"vip: {network.vip}/24")
    # Callers find the menu open at any hour, and may listen as long as a test needs.
    text = text.replace('mon-fri: "08:00-18:00"', 'mon-sun: "00:00-24:00"')
    text = text.replace("after: 6s", "after: 60s")
    return text.replace("10.20.0.", f"{network.network}.")


def servers(text: str) -> list[str]:
    """The names of a spec's servers, as the example writes them."""
    return re.findall(r"^  - \{name: ([\w-]+), address:", text, flags=re.MULTILINE)


@contextmanager
def whole_pbx(*, steppable: bool = False) -> Iterator[WholePbx]:
    """Hosts with Consul and Nomad started; `WholePbx.begin` and `apply` do the rest."""
    with lab(nomad=servers(EXAMPLE.read_text()), plain=("phones",), steppable=steppable) as network:
        yield WholePbx(network)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, flags=re.MULTILINE)
    assert found is not None, pattern
    return found[1]
