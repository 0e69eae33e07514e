"""`pbxctl compile`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pbxctl.apply import manifest_of
from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import count
from pbxctl.commands.passwords import public
from pbxctl.deployment import Deployment
from pbxctl.engines.nomad.variables import var_file


@click.command("compile")
@spec_argument
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to write to; made if it is not there, refused if it has something in it.",
)
@common
def command(here: Here, spec: Path, target: Path) -> None:
    """Write what SPEC compiles to, to look at or to run by hand.

    \b
    jobs/<job>.vars          variables, for: nomad job run -var-file=… <role>.nomad.hcl
    config/…                 documents of the key-value store
    users/<tenant>.ndjson    users, without HA1s
    secrets.txt              the secrets' names, without values
    """
    from pbxctl.commands.loading import compiled

    _, deployment = compiled(here, spec)
    if target.exists() and any(target.iterdir()):
        raise CommandError(f"{target} has files in it; give a directory that is empty or new")
    files = rendered(deployment)
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if here.out.json:
        here.out.value(
            {
                "cluster": deployment.cluster,
                "spec_hash": deployment.spec_hash,
                "out": str(target),
                "files": sorted(files),
            }
        )
        return
    users = sum(len(directory.users) for directory in deployment.directories)
    here.out.line(
        f"{target}: {count(len(deployment.jobs), 'job')}, "
        f"{count(len(deployment.documents) + 1, 'document')}, {count(users, 'user')}, "
        f"{count(len(deployment.secrets), 'secret')} (names only)"
    )


def rendered(deployment: Deployment) -> dict[str, bytes]:
    """Relative path → content. No secret and no HA1 is in it."""
    files = {f"jobs/{job.id}.vars": var_file(job.variables).encode() for job in deployment.jobs}
    for key, document in deployment.documents.items():
        files[f"config/{key}.json"] = document + b"\n"
    files["config/manifest.json"] = manifest_of(deployment) + b"\n"
    for directory in deployment.directories:
        lines = (json.dumps(public(user)) for user in directory.users)
        files[f"users/{directory.tenant}.ndjson"] = "".join(f"{each}\n" for each in lines).encode()
    files["secrets.txt"] = "".join(f"{name}\n" for name in sorted(deployment.secrets)).encode()
    return files
