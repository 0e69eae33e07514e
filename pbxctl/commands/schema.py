"""`pbxctl schema`."""

from __future__ import annotations

import click

from pbxctl.commands.context import Here, common


@click.command("schema")
@common
def command(here: Here) -> None:
    """Print the JSON Schema (2020-12) of the spec, for editors that check while one types."""
    from pbxctl.spec import schema

    here.out.value(schema())
