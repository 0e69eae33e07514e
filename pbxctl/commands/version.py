"""`pbxctl version`."""

from __future__ import annotations

import platform

import click

from pbxctl import __version__
from pbxctl.commands.context import Here, common


@click.command("version")
@common
def command(here: Here) -> None:
    """Print the version of this program, which is the release it deploys."""
    if here.out.json:
        here.out.value({"version": __version__, "python": platform.python_version()})
    else:
        here.out.line(f"pbxctl {__version__}")
