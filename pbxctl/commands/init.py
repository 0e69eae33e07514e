"""`pbxctl init`."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import click

from pbxctl.commands.context import Here, common
from pbxctl.commands.failure import CommandError

TEMPLATE = Path(__file__).with_name("starter.yaml")


@click.command("init")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("pbx.yaml"))
@click.option("--cluster", default="office", show_default=True, help="Name of the cluster.")
@click.option(
    "--address", default="127.0.0.1", show_default=True, help="Where phones come to, an IP address."
)
@click.option("--domain", default="pbx.example", show_default=True, help="SIP domain of the users.")
@common
def command(here: Here, file: Path, cluster: str, address: str, domain: str) -> None:
    """Write a commented starter spec to FILE, pbx.yaml if none is named. Never overwrites."""
    check(cluster, address, domain)
    text = TEMPLATE.read_text(encoding="utf-8").format(
        file=file, cluster=cluster, address=address, domain=domain, tenant="main"
    )
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise CommandError(f"{file} is there already; it was not changed") from None
    except FileNotFoundError:
        raise CommandError(f"{file.parent} is no directory; make it first") from None
    if here.out.json:
        here.out.value({"file": str(file), "cluster": cluster})
        return
    here.out.line(f"{file} is written; edit it, then: pbxctl apply {file}")


def check(cluster: str, address: str, domain: str) -> None:
    """Raises UsageError for what would make a spec that is wrong from the start."""
    from pbxctl.spec import schema

    for option, value, kind in (("--cluster", cluster, "name"), ("--domain", domain, "domain")):
        rule = schema()["$defs"][kind]
        if not re.fullmatch(rule["pattern"], value):
            raise click.UsageError(f"{option} {value!r}: expected {rule['x-expected']}")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise click.UsageError(f"--address {address!r}: expected an IP address") from None
