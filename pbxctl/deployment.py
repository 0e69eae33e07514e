"""What a spec compiles to: a value that says all that should run, and nothing of how."""

from __future__ import annotations

import msgspec

from services.core.configuration import User

Variable = str | int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One role on one server: a job file and the values of its variables.

    ``id`` is ``<cluster>-<role>-<server>``. ``role`` names the file, ``jobs/<role>.nomad.hcl``.
    """

    id: str
    role: str
    server: str
    variables: dict[str, Variable]


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """The users that the spec gives a tenant, by extension. ``digest`` is over all of them."""

    tenant: str
    users: tuple[User, ...]
    digest: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled spec.

    ``documents`` maps keys relative to ``config/`` to their bytes, the manifest left out: it is
    written last. ``secrets`` are names and values for the Call Manager's store; they are in no
    file that `compile` writes and in no plan. ``sounds`` are the files that menus play, by their
    SHA-256, for the store as well.
    """

    cluster: str
    release: str
    engine: str
    spec_hash: str
    jobs: tuple[Job, ...]
    documents: dict[str, bytes]
    directories: tuple[Directory, ...]
    secrets: dict[str, str]
    sounds: dict[str, bytes] = {}
