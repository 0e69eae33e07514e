"""`make lab`: examples/ha-cluster.yaml on hosts in network namespaces, with real Consul and Nomad.

Brings the cluster up, makes calls from another host through the virtual address, then takes
commands until it is told to stop: `off cm1` cuts a host's power, and so on. Nothing of it is left
afterwards.

    python -m tools.lab [--once]     --once: no commands; exit status 1 where a call was not well
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text

from pbxctl import probe
from tests.cluster.lab import Host
from tests.cluster.nomad.forward import forward
from tests.cluster.whole import WholePbx, whole_pbx
from tools import demo

CALL = "call"
"""First argument of the process that is the phones: it runs on another host."""
SECONDS = 3.0
APPLY = 300.0
TRIES = 2
"""Five hosts on two busy cores may be slower than an operator would have patience with."""

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str]) -> int:
    if len(arguments) == 3 and arguments[0] == CALL:
        return trio.run(call, arguments[1], arguments[2])
    if arguments not in ([], ["--once"]):
        console.print("usage: python -m tools.lab [--once]", style="red")
        return 2
    # Whoever ends it from outside wants nothing left either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with whole_pbx() as pbx:
            return trio.run(life, pbx, bool(arguments))
    except RuntimeError as error:
        console.print(Text(f"lab: {error}", style="red"))
        return 1
    except BaseException as error:
        if not interrupted(error):
            raise
        console.print("\nstopped; nothing is left")
        return 130


def interrupted(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which trio may have put into groups."""
    if isinstance(error, BaseExceptionGroup):
        return all(interrupted(each) for each in error.exceptions)
    return isinstance(error, KeyboardInterrupt)


async def life(pbx: WholePbx, once: bool) -> int:
    """From bare hosts to the last command; the exit status."""
    begun = time.monotonic()
    console.print(f"{len(pbx.network.hosts)} hosts, Consul and Nomad start on {hosts(pbx)}")
    await pbx.begin()
    console.print(Text("$ pbxctl apply examples/ha-cluster.yaml", style="bold"))
    apply = pbx.words("apply", str(pbx.spec), "--auto-approve", "--timeout", f"{APPLY:.0f}")
    for again in range(TRIES):
        if again:
            console.print("the same apply again goes on from there")
        if not await on(pbx, pbx.manager, *apply):
            break
    else:
        console.print(Text("apply did not succeed; what it said is above", style="red"))
        return 1
    failed = await calls(pbx)
    console.print(f"{time.monotonic() - begun:.0f} s after the power was switched on")
    if once:
        return failed
    async with trio.open_nursery() as nursery:
        address = await nursery.start(forward, pbx.manager, 8500)
        console.print(guide(pbx, address))
        await prompt(pbx)
        nursery.cancel_scope.cancel()
    return 0


def hosts(pbx: WholePbx) -> str:
    return ", ".join(f"{host.name} {host.address}" for host in pbx.network.hosts.values())


async def on(pbx: WholePbx, host: Host, *words: str) -> int:
    """Run something on a host, in this terminal; its exit status."""
    environment = host.environment() | pbx.environment()
    if "TERM" in os.environ:
        environment["TERM"] = os.environ["TERM"]
    done = await trio.run_process(host.command(words), env=environment, check=False)
    return done.returncode


async def calls(pbx: WholePbx) -> int:
    """The phones call each other over each transport; 1 where a call was not well."""
    console.print(
        f"\n{demo.CALLER} calls {demo.CALLEE} from the host phones, through {pbx.network.vip}"
    )
    ca = pbx.state / pbx.cluster / "secrets" / "sip_certificate"
    words = [sys.executable, "-m", "tools.lab", CALL, pbx.network.vip, str(ca)]
    return await on(pbx, pbx.phones, *words)


async def call(vip: str, ca: str) -> int:
    """On the phones' host."""

    def account(extension: str) -> probe.Account:
        password = os.environ[f"PASSWORD_{extension}"]
        return probe.Account(username=extension, password=password, domain=demo.DOMAIN)

    console.print(Text(demo.row(demo.COLUMNS), style="bold"))
    report = await probe.run(
        probe.Target(host=vip, ca_file=ca),
        account(demo.CALLER),
        account(demo.CALLEE),
        seconds=SECONDS,
        recordings=Path(ca).parents[3] / "heard",
        finished=demo.tell,
    )
    return 0 if report.ok else 1


def guide(pbx: WholePbx, consul: str) -> Text:
    """How to reach it."""
    prefix = pbx.manager.namespace.removesuffix(pbx.manager.name)
    exports = "; ".join(f"export {k}={v}" for k, v in pbx.environment().items())
    return Text(
        f"\nConsul's UI  http://{consul}/ui\n"
        f"A shell on a host, in another terminal:  ip netns exec {prefix}cm1 bash, and there\n"
        f"  {exports}\n"
        f"  {sys.executable} -m pbxctl status --watch\n"
        "\nCommands here:\n"
        "  off HOST, on HOST          power\n"
        "  unplug HOST, plug HOST     network cable\n"
        "  pause HOST, resume HOST    all processes hang\n"
        "  status                     what pbxctl says\n"
        "  call                       the same calls again\n"
        "  quit, or Ctrl-C            stop all of it\n"
    )


async def prompt(pbx: WholePbx) -> None:
    """Carry out commands until the last."""

    async def at(name: str, what: Callable[[Host], None]) -> None:
        host = pbx.network.hosts.get(name)
        if host is None:
            console.print(f"no host {name!r}; there are {hosts(pbx)}")
            return
        what(host)

    plain: dict[str, Callable[[], Awaitable[object]]] = {
        "status": lambda: on(pbx, pbx.manager, *pbx.words("status")),
        "call": lambda: calls(pbx),
    }
    to_hosts: dict[str, Callable[[Host], None]] = {
        "off": Host.power_off,
        "on": Host.power_on,
        "unplug": Host.unplug,
        "plug": Host.plug,
        "pause": Host.pause,
        "resume": Host.resume,
    }
    async for line in lines():
        match line.split():
            case []:
                pass
            case ["quit" | "exit"]:
                return
            case [word] if word in plain:
                await plain[word]()
            case [word, name] if word in to_hosts:
                await at(name, to_hosts[word])
            case _:
                console.print(f"commands are {', '.join([*to_hosts, *plain, 'quit'])}")


async def lines() -> AsyncIterator[str]:
    """What is typed; for ever, where nobody can type."""
    buffer = b""
    with contextlib.suppress(trio.BrokenResourceError):
        while True:
            console.print("lab> ", end="")
            while b"\n" not in buffer:
                await trio.lowlevel.wait_readable(sys.stdin.fileno())
                part = os.read(sys.stdin.fileno(), 4096)
                if not part:
                    await trio.sleep_forever()
                buffer += part
            line, _, buffer = buffer.partition(b"\n")
            yield line.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
