"""Nomad's JSON, as far as it is used. Source: its HTTP API documentation and ``api`` module.

Times in task states are RFC 3339, those of events Unix nanoseconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import field


class JobStub(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of ``/v1/jobs?meta=true``. ``stop``: stopped, and not removed yet."""

    id: str = field(name="ID")
    stop: bool = False
    meta: dict[str, str] | None = None


class JobVersion(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of ``/v1/jobs/statuses``, which says what that of ``/v1/jobs`` does not."""

    id: str = field(name="ID")
    version: int = 0


class RegisteredJob(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``/v1/job/<id>``."""

    id: str = field(name="ID")
    stop: bool = False
    version: int = 0
    job_modify_index: int = 0
    meta: dict[str, str] | None = None


class Versions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``/v1/job/<id>/versions``, newest first."""

    versions: list[RegisteredJob]


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Something that happened to a task; the newest is last."""

    type: str = ""
    exit_code: int = 0
    signal: int = 0
    display_message: str = ""
    time: int = 0


class TaskState(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``state`` is pending, running or dead."""

    state: str = "pending"
    failed: bool = False
    restarts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    events: list[Event] | None = None


class Alloc(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of ``/v1/allocations``: a job's tasks on a node."""

    id: str = field(name="ID")
    job_id: str = field(name="JobID")
    job_version: int = 0
    node_name: str = ""
    client_status: str = ""
    desired_status: str = ""
    create_index: int = 0
    task_states: dict[str, TaskState] | None = None


class Driver(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Of a node's."""

    detected: bool = False
    healthy: bool = False


class Node(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of ``/v1/nodes``. ``status`` is initializing, ready, down or disconnected."""

    name: str = ""
    status: str = ""
    scheduling_eligibility: str = ""
    drain: bool = False
    drivers: dict[str, Driver] | None = None


class Field(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A field of a diff. ``type`` is None, Added, Deleted or Edited."""

    type: str = "None"
    name: str = ""
    old: str = ""
    new: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A job, group, task or block in a diff, with what differs inside."""

    type: str = "None"
    name: str = ""
    fields: list[Field] | None = None
    objects: list[Part] | None = None
    task_groups: list[Part] | None = None
    tasks: list[Part] | None = None


class Updates(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a registration would do to the allocations of a group."""

    place: int = 0
    stop: int = 0
    in_place_update: int = 0
    destructive_update: int = 0


class Annotations(msgspec.Struct, frozen=True, kw_only=True):
    """Of a plan."""

    desired: dict[str, Updates] | None = field(name="DesiredTGUpdates", default=None)


class PlanAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """``/v1/job/<id>/plan``."""

    diff: Part | None = None
    annotations: Annotations | None = None
    job_modify_index: int = 0
    warnings: str = ""


Job = dict[str, Any]
"""A job as ``/v1/jobs/parse`` gives it; only its meta is ever touched here."""
