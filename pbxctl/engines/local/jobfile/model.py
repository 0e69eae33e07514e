"""A job as it will run: every variable has its value. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from typing import Literal

import msgspec


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults are Nomad's for service jobs."""

    attempts: int = 2
    interval: float = 1800.0
    delay: float = 15.0
    mode: Literal["delay", "fail"] = "fail"


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """The newest file and ``max_files - 1`` older ones, each up to ``max_file_size`` bytes."""

    max_files: int = 10
    max_file_size: int = 10 * 1024 * 1024


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A file with this text. ``env``: its lines are ``NAME=value`` for the task's environment."""

    destination: str
    text: str
    env: bool = False
    mode: int = 0o644


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """MHz and MiB, as Nomad tells tasks; the local engine limits nothing."""

    cpu: int = 100
    memory: int = 300


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Strings may hold ``${NOMAD_...}``, which is replaced when the task starts.

    ``prestart`` tasks come first; those that are no ``sidecar`` must end well before the rest.
    """

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    meta: dict[str, str] = {}
    templates: tuple[Template, ...] = ()
    prestart: bool = False
    sidecar: bool = False
    kill_signal: str = "SIGINT"
    kill_timeout: float = 5.0
    logs: Logs = Logs()
    restart: Restart = Restart()
    resources: Resources = Resources()

    @property
    def to_completion(self) -> bool:
        """Whether ending well is its purpose, so that the rest waits for it."""
        return self.prestart and not self.sidecar


class ResolvedJob(msgspec.Struct, frozen=True, kw_only=True):
    """``fingerprint`` is the digest of the job file's text and of ``variables``, as given."""

    id: str
    name: str
    group: str
    fingerprint: str
    variables: dict[str, str | int | float | bool] = {}
    meta: dict[str, str] = {}
    ports: dict[str, int] = {}
    tasks: tuple[Task, ...]
