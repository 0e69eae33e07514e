"""What every command starts from: the state root, which cluster is meant, where output goes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import Output

F = TypeVar("F", bound=Callable[..., Any])

MARK = "secrets"
"""A directory below the state root that holds one of these is a cluster's."""


def default_root() -> Path:
    """``/var/lib/pbx`` for root, else ``$XDG_STATE_HOME/pbx`` or ``~/.local/state/pbx``."""
    if os.geteuid() == 0:
        return Path("/var/lib/pbx")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "pbx"


JOBS = "jobs"
"""Of a cluster's directory: has a directory for every job that was started."""
NOMAD_NOTE = "engine.json"
"""There of a cluster on Nomad, instead (`pbxctl.engines.nomad.state_dir`)."""


class Here:
    """``root`` holds one directory a cluster, named like it."""

    def __init__(self, root: Path, out: Output) -> None:
        self.root = root
        self.out = out

    def directory(self, cluster: str) -> Path:
        """The state directory of one cluster; need not exist."""
        return self.root / cluster

    def clusters(self) -> list[str]:
        """Names of the clusters that have state here, sorted."""
        try:
            entries = sorted(self.root.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CommandError(f"{self.root}: {error.strerror}") from None
        return [entry.name for entry in entries if (entry / MARK).is_dir()]

    def has_jobs(self, cluster: str) -> bool:
        """Whether anything was ever started of it."""
        if (self.directory(cluster) / NOMAD_NOTE).exists():
            return True
        try:
            return any((self.directory(cluster) / JOBS).iterdir())
        except OSError:
            return False

    def choose(self, name: str | None, spec: Path | None = None) -> str:
        """The cluster meant: the one named, the spec's, or the only one there is.

        State of which nothing was ever started counts only where there is no other.
        """
        if name is not None and spec is not None:
            raise click.UsageError("give a spec or --cluster, not both")
        if spec is not None:
            from pbxctl.commands.loading import cluster_name

            return cluster_name(spec)
        known = self.clusters()
        if name is not None:
            if name not in known:
                there = f"there is {', '.join(known)}" if known else "there is none"
                raise CommandError(f"no cluster {name} has state below {self.root}; {there}")
            return name
        started = [each for each in known if self.has_jobs(each)]
        for only in (known, started):
            if len(only) == 1:
                return only[0]
        if not known:
            raise CommandError(
                f"no cluster has state below {self.root}: run pbxctl apply SPEC first, "
                "or say where with --state-dir"
            )
        raise CommandError(
            f"{len(known)} clusters have state below {self.root}; say which with --cluster",
            details=tuple(f"  {each}" for each in known),
            facts={"clusters": known},
        )


def common(command: F) -> F:
    """Gives a command ``--json`` and ``--state-dir`` and calls it with a `Here`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON value, errors too.")
    @click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="PBX_STATE_DIR",
        show_envvar=True,
        help="Where clusters keep their state, one directory each.  "
        "[default: /var/lib/pbx for root, else ~/.local/state/pbx]",
    )
    @functools.wraps(command)
    def run(*args: Any, as_json: bool, state_dir: Path | None, **options: Any) -> Any:
        # Absolute, because the engine and its tasks run in directories of their own.
        root = (state_dir or default_root()).absolute()
        return command(Here(root, Output(json=as_json)), *args, **options)

    return run  # type: ignore[return-value]  # click adds the two parameters that F lacks


def which(command: F) -> F:
    """Adds ``--cluster NAME``."""
    return click.option(
        "--cluster",
        metavar="NAME",
        shell_complete=_names,
        help="Which cluster; not needed where there is only one.",
    )(command)


def _names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    root = ctx.params.get("state_dir") or os.environ.get("PBX_STATE_DIR") or default_root()
    known = Here(Path(root), Output()).clusters()
    return [name for name in known if name.startswith(incomplete)]


def spec_argument(command: F, *, required: bool = True) -> F:
    """Adds the positional SPEC."""
    return click.argument(
        "spec", required=required, type=click.Path(path_type=Path, dir_okay=False)
    )(command)


def optional_spec(command: F) -> F:
    """Adds the positional [SPEC], another way to say which cluster."""
    return spec_argument(command, required=False)
