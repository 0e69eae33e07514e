"""The plan as a value, and what it is made from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

import msgspec

from pbxctl.engines.engine import Drift, JobStatus
from pbxctl.plan.differences import Differences
from services.core import configuration
from services.core.configuration import Manifest

Action = Literal["add", "change", "remove"]
VERSION = 1


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now; of a cluster that does not run, nothing.

    ``documents`` are the key-value store's, keys relative to ``config/``, manifest left out.
    ``directories`` maps tenants to the digest of the users that a spec gave them, ``secrets`` names
    to fingerprints. ``wanted`` are the fingerprints of the deployment's own secrets under this
    cluster's token (`secret_fingerprints`); without one a secret that is there counts as the same.
    ``drift`` is what was changed behind pbxctl's back, by job id.
    ``sounds`` are the digests of files of sound that every Call Manager's store holds.
    ``engine_stopped`` says what of it runs although the engine does not, empty where that does.
    """

    jobs: tuple[JobStatus, ...] = ()
    manifest: Manifest | None = None
    documents: dict[str, bytes] = {}
    directories: dict[str, str] = {}
    secrets: dict[str, str] = {}
    wanted: dict[str, str] = {}
    engine_stopped: str = ""
    drift: dict[str, Drift] = {}
    sounds: frozenset[str] = frozenset()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do. ``effect`` says what calls will notice; ``restarts`` are job ids.

    ``differences`` maps a field's path to its old and new value, None where there is none.
    """

    action: Action
    subject: str
    text: str
    effect: str = ""
    restarts: tuple[str, ...] = ()
    differences: Differences = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``deployment`` and ``basis`` are digests of what it leads to and what it starts from.

    ``spec`` is the spec's path, for those who apply the saved plan; `make_plan` leaves it empty.
    """

    cluster: str
    release: str
    deployment: str
    basis: str
    changes: tuple[Change, ...] = ()
    spec: str = ""
    version: int = VERSION

    @property
    def empty(self) -> bool:
        """Whether what runs is what should."""
        return not self.changes

    @property
    def restarts(self) -> frozenset[str]:
        """Jobs that restart or stop."""
        return frozenset(job for change in self.changes for job in change.restarts)

    def count(self, action: Action) -> int:
        """How many changes do this."""
        return sum(change.action == action for change in self.changes)


class PlanError(Exception):
    """A saved plan cannot be read, or no longer fits; the message says what to do."""


def secret_fingerprint(admin_token: str, name: str, value: str) -> str:
    """Tells whether a secret is the same, to those who hold the token, and nothing else."""
    message = f"{name}\0{value}".encode()
    return hmac.new(admin_token.encode(), message, hashlib.sha256).hexdigest()[:16]


def secret_fingerprints(admin_token: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of a deployment's secrets by name, for `Running.wanted`."""
    return {name: secret_fingerprint(admin_token, name, v) for name, v in secrets.items()}


def save(plan: Plan) -> bytes:
    """The plan as a file: JSON."""
    return msgspec.json.format(configuration.encode(plan), indent=2) + b"\n"


def read(data: bytes) -> Plan:
    """A saved plan. Raises PlanError."""
    try:
        plan = msgspec.json.decode(data, type=Plan)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"not a plan that pbxctl wrote: {error}") from None
    if plan.version != VERSION:
        raise PlanError(f"a plan of version {plan.version}; this pbxctl reads version {VERSION}")
    return plan


def refuse_stale(saved: Plan, now: Plan) -> None:
    """Raises PlanError where the saved plan would not do today what it says."""
    advice = "make a new one with pbxctl plan --out"
    if saved.cluster != now.cluster:
        raise PlanError(f"the plan is for {saved.cluster}, the spec for {now.cluster}; {advice}")
    if saved.deployment != now.deployment:
        raise PlanError(f"the spec, or what is installed, has changed since the plan; {advice}")
    if saved.basis != now.basis or saved.changes != now.changes:
        raise PlanError(f"what runs has changed since the plan; {advice}")
