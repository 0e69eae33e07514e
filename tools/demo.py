"""`make run`: a PBX from examples/one-host.yaml on this machine, and real calls through it.

Everything it writes is below ./out, or below the directory that PBX_DEMO_OUT names. It may be run
again: what runs stays and is used.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import trio
from rich.console import Console
from rich.text import Text

from pbxctl import probe
from pbxctl.probe.softphone import PhoneError
from tools import menu

ROOT = Path(__file__).resolve().parent.parent
SPEC = Path("examples/one-host.yaml")
OUT = Path(os.environ.get("PBX_DEMO_OUT", "out"))
STATE = OUT / "pbx"
CLUSTER = "one-host"
ENVIRONMENT = OUT / "one-host.env"
RECORDINGS = OUT / "recordings"
DOMAIN = "acme.example"
ADDRESS = "127.0.0.1"
CALLER, CALLEE = "2001", "2002"
# Loopback ports of the example, and what they are for.
PORTS = {
    5060: "SIP over UDP and TCP",
    5061: "SIP over TLS",
    8443: "SIP over WSS",
    7080: "the Call Manager's admin API",
    8500: "the registry",
}
SOCKET = STATE / CLUSTER / "alloc" / f"{CLUSTER}-call-manager-cm1" / "alloc" / "kamailio.sock"
SOCKET_PATH = 107
"""The longest path of a Unix socket, bytes."""
PACKAGES = ("kamailio", "rtpengine")

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """What is in the way, and what to do about it."""


def main() -> int:
    os.chdir(ROOT)
    begun = time.monotonic()
    try:
        check_machine()
        passwords = environment()
        apply(passwords)
        report = trio.run(call, passwords)
        heard = trio.run(at_the_menu, passwords)
        show(report, heard, status(passwords), time.monotonic() - begun)
    except (DemoError, PhoneError, probe.ProbeError) as error:
        console.print(Text(f"\n{error}", style="red"))
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; what was started still runs: " + stop_command())
        return 130
    return 0 if report.ok and heard.ok else 1


def check_machine() -> None:
    """Raises DemoError for what would make apply fail in words that are harder to understand."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in PACKAGES:
        if not any((Path(directory) / program).is_file() for directory in path.split(":")):
            raise DemoError(f"{program} is not installed: run make system as root")
    if len(bytes(ROOT / SOCKET)) > SOCKET_PATH:
        raise DemoError(f"{ROOT / OUT} is too long a path for Unix sockets: move the project up")
    if not (STATE / CLUSTER / "engine.pid").exists():
        for port, use in PORTS.items():
            check_port(port, socket.SOCK_STREAM, use)
        check_port(5060, socket.SOCK_DGRAM, PORTS[5060])


def check_port(port: int, kind: socket.SocketKind, use: str) -> None:
    with socket.socket(socket.AF_INET, kind) as trial:
        # A connection that has just been closed is no reason to refuse.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
        try:
            trial.bind((ADDRESS, port))
        except OSError as error:
            protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
            raise DemoError(
                f"{ADDRESS}:{port} ({protocol}) is taken, and {use} needs it: {error.strerror}.\n"
                f"See what has it with: ss -lntup 'sport = :{port}'"
            ) from None


def environment() -> dict[str, str]:
    """The variables that the example names: random, and the same again in the next run."""
    text = "\n".join(line.partition("#")[0] for line in SPEC.read_text().splitlines())
    names = sorted(set(re.findall(r"env:\s*(\w+)", text)))
    known: dict[str, str] = {}
    if ENVIRONMENT.exists():
        lines = (line.removeprefix("export ") for line in ENVIRONMENT.read_text().splitlines())
        known = dict(shlex.split(line)[0].split("=", 1) for line in lines if "=" in line)
    values = {name: known.get(name) or secrets.token_urlsafe(12) for name in names}
    OUT.mkdir(parents=True, exist_ok=True)
    ENVIRONMENT.touch(mode=0o600)
    ENVIRONMENT.write_text("".join(f"export {n}={shlex.quote(v)}\n" for n, v in values.items()))
    return values


def pbxctl(*arguments: str, passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command of ours, its output kept."""
    return subprocess.run(
        [sys.executable, "-m", "pbxctl", *arguments, "--state-dir", str(STATE)],
        env=os.environ | passwords,
        capture_output=True,
        text=True,
        check=False,
    )


def apply(passwords: dict[str, str]) -> None:
    """As an operator would, with what it prints."""
    console.print(Text(f"$ pbxctl apply {SPEC}", style="bold"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pbxctl", "apply", str(SPEC)),
            *("--auto-approve", "--state-dir", str(STATE)),
        ],
        env=os.environ | passwords,
        check=False,
    )
    if done.returncode:
        raise DemoError(
            f"apply did not succeed; it may be run again. What the PBX wrote is in {STATE}/"
            f"{CLUSTER}/logs.\nTo start anew: {stop_command()}"
        )


def status(passwords: dict[str, str]) -> dict[str, Any]:
    """What `pbxctl status --json` says. Raises DemoError if it says nothing."""
    done = pbxctl("status", "--cluster", CLUSTER, "--json", passwords=passwords)
    try:
        return msgspec.json.decode(done.stdout)
    except msgspec.DecodeError:
        raise DemoError(f"pbxctl status: {done.stderr.strip() or done.stdout.strip()}") from None


async def call(passwords: dict[str, str]) -> probe.Report:
    """Two phones, one call over each transport."""
    console.print(f"\n{CALLER} calls {CALLEE} with two soft phones; each says what the other knows")
    console.print(Text(row(COLUMNS), style="bold"))
    certificate = STATE / CLUSTER / "data" / "cm1" / "call-manager" / "tls" / "cert.pem"

    def account(extension: str) -> probe.Account:
        return probe.Account(
            username=extension, password=passwords[f"PASSWORD_{extension}"], domain=DOMAIN
        )

    return await probe.run(
        probe.Target(host=ADDRESS, ca_file=str(certificate)),
        account(CALLER),
        account(CALLEE),
        seconds=3,
        recordings=RECORDINGS,
        finished=tell,
    )


async def at_the_menu(passwords: dict[str, str]) -> menu.Heard:
    """A call to the company's menu, as a caller would make it."""
    console.print(f"\n{CALLER} calls the menu, {menu.MENU}, listens, and dials {CALLEE}")
    RECORDINGS.mkdir(parents=True, exist_ok=True)
    people = [(each, passwords[f"PASSWORD_{each}"]) for each in (CALLER, CALLEE)]
    try:
        heard = await menu.call(f"sip:{ADDRESS}:5060", DOMAIN, people[0], people[1], RECORDINGS)
    except trio.TooSlowError:
        raise DemoError(f"the call to the menu was not done in {menu.WITHIN:.0f} s") from None
    said = f"the menu spoke ({heard.greeting:.0f} dBFS), {CALLEE} was heard ({heard.likeness:.2f})"
    console.print(Text(f"  {said}", style="green" if heard.ok else "red"))
    return heard


COLUMNS = ("OVER", "HEARD", "REGISTERED", "RANG", "FIRST AUDIO", "CODEC", "LIKENESS", "LONGEST GAP")
WIDTHS = (6, 11, 12, 9, 13, 11, 10, 11)


def row(cells: tuple[str, ...]) -> str:
    line = "".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return f"  {line}".rstrip()


def tell(trial: probe.Trial) -> None:
    """One line for each call, when it is over."""
    name = trial.transport.upper()
    if trial.directions:
        ways = trial.directions
        cells = (
            name,
            "not well" if trial.problems else "both ways",
            ms(trial.register),
            ms(trial.ringing),
            ms(max((way.first_audio or 0) for way in ways)),
            trial.codec,
            f"{min(way.likeness for way in ways):.2f}",
            f"{max(way.longest_gap for way in ways):.0f} ms",
        )
        console.print(Text(row(cells), style="red" if trial.problems else "green"))
    for problem in trial.problems:
        console.print(Text(f"  {name:<6}{problem}", style="red"))


def show(report: probe.Report, heard: menu.Heard, found: dict[str, Any], seconds: float) -> None:
    """What runs, what was heard, where it is, what to try next."""
    console.print()
    console.print(Text("What runs", style="bold"))
    for row in found.get("servers", []):
        console.print(
            f"  {row['server']:<9}{row['role']:<14}{row['state']:<10}{row.get('check', '')}"
        )
    console.print()
    if report.ok and heard.ok:
        calls = len(report.trials) + 1
        console.print(
            Text(f"A PBX, and {calls} real calls through it", style="bold green"),
            f"in {seconds:.0f} s. What the phones heard: {RECORDINGS}/*-heard-by-*.wav",
        )
        console.print(f"Listen to the menu: {heard.recording}")
    else:
        console.print(Text("The PBX runs, but not every call was as it should be.", style="red"))
    console.print(
        "\nNext\n"
        f"  source {ENVIRONMENT}; export PBX_STATE_DIR={STATE.absolute()}   passwords and place\n"
        "  .venv/bin/pbxctl status --watch      servers, checks, load\n"
        "  .venv/bin/pbxctl probe               the same calls again, whenever you doubt\n"
        f"  .venv/bin/pbxctl plan {SPEC}   after an edit: what would change\n"
        f"  your own phone: {CALLER}@{DOMAIN} by {ADDRESS}:5060, password $PASSWORD_{CALLER}\n"
        f"\nIt goes on running. To stop it and remove what it wrote:\n  {stop_command()}"
    )


def stop_command() -> str:
    return f".venv/bin/pbxctl destroy --state-dir {STATE}"


def ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
