"""`pbxctl validate`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.output import count


@click.command("validate")
@spec_argument
@common
def command(here: Here, spec: Path) -> None:
    """Check SPEC and say all that is wrong with it: file, line, column, what was expected."""
    from pbxctl.commands.loading import compiled

    loaded, deployment = compiled(here, spec)
    users = sum(len(directory.users) for directory in deployment.directories)
    if here.out.json:
        here.out.value(
            {
                "valid": True,
                "cluster": deployment.cluster,
                "warnings": [msgspec.to_builtins(warning) for warning in loaded.warnings],
                "jobs": [job.id for job in deployment.jobs],
                "tenants": len(deployment.directories),
                "users": users,
            }
        )
        return
    warned = f", {count(len(loaded.warnings), 'warning')}" if loaded.warnings else ""
    here.out.line(
        f"{spec} is valid: {deployment.cluster}, {count(len(deployment.jobs), 'job')}, "
        f"{count(len(deployment.directories), 'tenant')}, {count(users, 'user')}{warned}"
    )
