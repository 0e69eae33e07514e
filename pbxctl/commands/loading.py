"""From a spec's path to what it compiles to, with its problems said the way compilers say them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from pbxctl import __version__
from pbxctl.commands.context import Here
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import count
from pbxctl.compile import Installation, compile_spec
from pbxctl.deployment import Deployment
from pbxctl.engines.engine import Engine, EngineError
from pbxctl.engines.nomad.reach import Note, place
from pbxctl.engines.nomad.state_dir import read_note
from pbxctl.spec import ClusterSpec, Loaded, SpecError, load


def load_spec(path: Path) -> Loaded:
    """The spec; raises CommandError with every problem of it."""
    try:
        return load(path, os.environ)
    except SpecError as error:
        raise spec_failure(error) from None


def spec_failure(error: SpecError) -> CommandError:
    """All the problems, then how many; their parts under ``problems`` in the JSON form."""
    return CommandError(
        f"{count(len(error.errors), 'problem')}; nothing was changed",
        details=tuple(str(problem) for problem in error.problems),
        facts={"problems": [msgspec.to_builtins(problem) for problem in error.problems]},
    )


def cluster_name(path: Path) -> str:
    """The name of a spec's cluster."""
    return load_spec(path).spec.cluster


def compiled(here: Here, path: Path) -> tuple[Loaded, Deployment]:
    """The spec and what it compiles to on this installation; warnings go to stderr."""
    loaded = load_spec(path)
    for warning in loaded.warnings:
        here.out.note(str(warning), style="yellow")
    return loaded, compile_spec(loaded.spec, installation(here, loaded.spec.cluster))


def installation(here: Here, cluster: str) -> Installation:
    """Where this program is installed: the roles' programs are beside it."""
    return Installation(
        prefix=Path(sys.prefix), state_dir=here.directory(cluster), release=__version__
    )


def engine_of(here: Here, cluster: ClusterSpec | str) -> Engine:
    """The engine that runs a cluster; by its spec, or by its name where it runs already.

    Raises CommandError where the cluster runs on another engine than its spec says.
    """
    name = cluster if isinstance(cluster, str) else cluster.cluster
    directory = here.directory(name)
    try:
        note = read_note(directory)
    except EngineError as error:
        raise CommandError(str(error)) from None
    runs_on = "nomad" if note else "local" if here.has_jobs(name) else ""
    wanted = runs_on if isinstance(cluster, str) else cluster.engine
    if runs_on and wanted != runs_on:
        raise CommandError(
            f"{name} runs on engine {runs_on} ({directory}) and the spec says engine: {wanted}; "
            "pbxctl destroy it first, or give the cluster another name; nothing was changed"
        )
    if wanted == "nomad":
        return _nomad(name, directory, note)
    from pbxctl.engines.local import LocalEngine

    if isinstance(cluster, str):
        return LocalEngine(directory)
    return LocalEngine(directory, registry_port=cluster.network.ports.registry)


def _nomad(name: str, directory: Path, note: Note | None) -> Engine:
    from pbxctl.engines.nomad import NomadEngine

    try:
        return NomadEngine(name, directory, place(os.environ, note))
    except EngineError as error:
        raise CommandError(f"{error}; nothing was changed") from None
