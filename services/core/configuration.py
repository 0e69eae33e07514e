"""The PBX configuration: what the compiler writes to the key-value store and every role reads.

Keys, all below ``pbx/<cluster>/``:

=============================  ====================================================================
``config/manifest``            `Manifest`; written last, names every other document and its digest
``config/cluster``             `Cluster`
``config/trunks/<name>``       `Trunk`
``config/routes``              ``list[Route]``, in the spec's order
``config/tenants/<name>``      `Tenant`
``config/numbers/<tenant>/<n>``  ``dict[str, Destination]``, at most `NUMBERS_A_DOCUMENT` each
``config/menus/<tenant>/<name>``  `services.core.menus.Menu`
``config/hours/<tenant>/<name>``  `services.core.menus.Hours`
``switches/<server>/<role>``   `Switch`; the administrator's, never written by apply
``prompts/<tenant>/<name>``    `RecordedPrompt`; recorded by phone, never written by apply
``alerts/<what>``              what failed, of late or still; the VIP's holder's
``mails/<id>``                 mails about it; the same
=============================  ====================================================================

A reader takes the configuration as a whole or not at all: it applies a manifest only when it holds
every document that the manifest names, with that digest. Users are not here: they are rows of the
store, and too many for a key-value store. Secrets are not here either: documents name them
(`SecretRef`), and the Call Manager's store keeps them sealed.

Values are JSON, encoded by `encode`; equal documents have equal bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeVar

import msgspec

NUMBERS_A_DOCUMENT = 2000
"""Consul refuses values over 512 KiB; a number and its destination stay below 200 bytes."""

Permission = Literal["internal", "national", "international"]
SwitchState = Literal["enabled", "draining", "disabled"]
Strategy = Literal["simultaneous", "sequential", "priority"]
Announcement = Literal["unknown-number", "busy", "unavailable", "not-permitted"]
DestinationKind = Literal[
    "extension", "ring_group", "number", "announcement", "menu", "voicemail", "prompts"
]
DigestAlgorithm = Literal["SHA-256", "MD5"]
Transport = Literal["udp", "tcp", "tls"]
Encryption = Literal["starttls", "tls", "none"]


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything below: immutable; defaults are left out of the JSON."""


class Destination(Document, frozen=True, kw_only=True):
    """Where a call goes.

    An extension, ring group or menu of the tenant, the voicemail box of an extension, an E.164
    number, or an announcement. ``prompts`` is what an extension may record; no spec says so.
    """

    kind: DestinationKind
    target: str


class Forward(Document, frozen=True, kw_only=True):
    """A user's call forwarding. ``no_answer_after`` is in seconds."""

    always: Destination | None = None
    busy: Destination | None = None
    no_answer: Destination | None = None
    no_answer_after: int = 20
    not_registered: Destination | None = None


class User(Document, frozen=True, kw_only=True):
    """One extension of a tenant: a row of the store, and what routing knows of it.

    ``ha1_md5`` and ``ha1_sha256`` are H(extension:realm:password) in hex (RFC 7616), the realm
    being the tenant's first domain; empty means that this user cannot register.
    ``caller_id`` is the number shown outside (E.164); empty means the tenant's main number.
    ``max_calls`` limits simultaneous calls; 0 means no limit.
    """

    tenant: str
    extension: str
    name: str = ""
    email: str = ""
    ha1_md5: str = ""
    ha1_sha256: str = ""
    permission: Permission = "internal"
    max_calls: int = 0
    caller_id: str = ""
    do_not_disturb: bool = False
    forward: Forward = Forward()
    record: bool = False
    enabled: bool = True


class RingMember(Document, frozen=True, kw_only=True):
    extension: str
    priority: int = 1


class RingGroup(Document, frozen=True, kw_only=True):
    """``timeout`` in seconds: of the whole group if simultaneous, of each step otherwise.

    ``priority`` rings the members of the lowest number first, together, then the next number's.
    """

    members: tuple[RingMember, ...]
    strategy: Strategy = "simultaneous"
    timeout: int = 25
    then: Destination | None = None


class NumberPlan(Document, frozen=True, kw_only=True):
    """How a tenant's users dial, to bring it to E.164.

    ``country`` is the country code without plus. ``outside`` is a prefix to get a line, often "".
    """

    country: str = ""
    international: str = "00"
    national: str = "0"
    outside: str = ""


class Voicemail(Document, frozen=True, kw_only=True):
    """The rules of a tenant's boxes. ``keep`` is in days, 0 for ever; ``messages`` fill a box.

    ``length`` is how many seconds a message may have. ``email``: users with an address get a mail
    with the message attached, or without it, or none. ``extension`` is what users dial to hear
    their own; empty for none.
    """

    extension: str = ""
    keep: int = 30
    messages: int = 100
    length: int = 180
    email: Literal["attach", "notify", "off"] = "attach"


class Prompts(Document, frozen=True, kw_only=True):
    """The prompts of a tenant's menus that are recorded by phone.

    ``extension`` is what the ``users`` dial for it, empty for none. ``numbers`` maps what they
    enter to the name of a prompt (`services.core.menus.Sound`).
    """

    extension: str = ""
    users: tuple[str, ...] = ()
    numbers: dict[str, str] = {}


class RecordedPrompt(Document, frozen=True, kw_only=True):
    """What is heard in place of a prompt of the spec.

    ``digest`` is of the sound in the store; ``by`` is the extension of who has recorded it, ``at``
    a Unix time.
    """

    digest: str
    by: str = ""
    at: float = 0.0


class Tenant(Document, frozen=True, kw_only=True):
    """``domains[0]`` is the digest realm. ``main_number`` is shown for users without their own.

    ``menus`` are all its menus, each with the extension by which users reach it, or "".
    """

    name: str
    domains: tuple[str, ...]
    language: str = "en"
    main_number: str = ""
    plan: NumberPlan = NumberPlan()
    max_calls: int = 0
    ring_groups: dict[str, RingGroup] = {}
    menus: dict[str, str] = {}
    emergency: tuple[str, ...] = ()
    record: bool = False
    voicemail: Voicemail = Voicemail()
    prompts: Prompts = Prompts()


class SecretRef(Document, frozen=True, kw_only=True):
    """Names a secret that the Call Manager's store keeps, sealed with the cluster key."""

    secret: str


class TrunkRegistration(Document, frozen=True, kw_only=True):
    username: str
    password: SecretRef
    realm: str = ""
    expires: int = 600


class Trunk(Document, frozen=True, kw_only=True):
    """A carrier. ``addresses`` are the CIDRs its calls come from; the peer's own are added to them.

    ``channels`` limits simultaneous calls; 0 means no limit. ``strip_plus``: the carrier wants
    numbers without the plus. ``options_interval``: seconds between OPTIONS to the peer, 0 for none.
    ``country``, ``international`` and ``national`` say how the carrier writes numbers, as in
    `NumberPlan`; E.164 with or without plus is always understood.
    """

    name: str
    host: str
    port: int = 0
    transport: Transport = "udp"
    addresses: tuple[str, ...] = ()
    register: TrunkRegistration | None = None
    channels: int = 0
    strip_plus: bool = False
    country: str = ""
    international: str = "00"
    national: str = "0"
    caller_id: str = ""
    options_interval: int = 30
    record: bool = False


class RouteTrunk(Document, frozen=True, kw_only=True):
    trunk: str
    cost: float = 0.0


class Route(Document, frozen=True, kw_only=True):
    """Outbound: the longest matching pattern wins; its trunks by cost, then in the spec's order.

    A pattern is digits, with or without plus, and may end in ``*``. ``always`` marks emergency
    numbers: matched as dialled, before anything else, whatever permission or limit says.
    ``tenants`` empty means every tenant.
    """

    name: str
    match: tuple[str, ...]
    trunks: tuple[RouteTrunk, ...]
    always: bool = False
    tenants: tuple[str, ...] = ()
    strip: int = 0
    prepend: str = ""


class FailedAuth(Document, frozen=True, kw_only=True):
    """``limit`` failures within ``window`` seconds ban the source for ``ban`` seconds."""

    limit: int = 10
    window: int = 60
    ban: int = 600


class RateLimit(Document, frozen=True, kw_only=True):
    """Requests a second from one source, and the burst it may add, before it is dropped.

    ``calls`` is new calls a second for the whole Call Manager; 0 means no limit.
    """

    requests: int = 200
    burst: int = 400
    calls: int = 0


class Security(Document, frozen=True, kw_only=True):
    """``trusted`` CIDRs are never banned or limited. ``digest`` is offered in this order."""

    digest: tuple[DigestAlgorithm, ...] = ("SHA-256", "MD5")
    failed_auth: FailedAuth = FailedAuth()
    rate: RateLimit = RateLimit()
    trusted: tuple[str, ...] = ()
    max_message: int = 65535
    max_contacts: int = 10


class Recording(Document, frozen=True, kw_only=True):
    """``keep`` is in days; 0 keeps for ever. Below ``min_free`` MiB of disk, recording stops."""

    keep: int = 90
    min_free: int = 1024


class Alerts(Document, frozen=True, kw_only=True):
    """``sender`` is the From address. ``smtp_ca`` is PEM of authorities beside the system's.

    A failure is over after ``well_for`` seconds without; a trunk fails after ``trunks_after``.
    """

    email: tuple[str, ...] = ()
    sender: str = ""
    well_for: int = 30
    trunks_after: int = 300
    smtp_host: str = ""
    smtp_port: int = 587
    smtp_encryption: Encryption = "starttls"
    smtp_username: str = ""
    smtp_password: SecretRef | None = None
    smtp_ca: str = ""


class Cluster(Document, frozen=True, kw_only=True):
    """What holds for the whole cluster. ``max_calls`` is the admission limit; 0 means none."""

    name: str
    max_calls: int = 0
    security: Security = Security()
    recording: Recording = Recording()
    alerts: Alerts = Alerts()


class Manifest(Document, frozen=True, kw_only=True):
    """``documents`` maps each key (relative to ``config/``) to the SHA-256 of its value, in hex."""

    spec_hash: str
    release: str
    documents: dict[str, str]


class Switch(Document, frozen=True, kw_only=True):
    """The administrator's word on one role of one server. ``since`` is a Unix time."""

    state: SwitchState = "enabled"
    reason: str = ""
    by: str = ""
    since: float = 0.0


ENABLED = Switch()


def prefix(cluster: str) -> str:
    """The key-value prefix of a cluster, with its slash."""
    return f"pbx/{cluster}/"


T = TypeVar("T")


def encode(document: Any) -> bytes:
    """Canonical JSON: the same document always gives the same bytes."""
    return msgspec.json.encode(document, order="deterministic")


def decode(data: bytes | str, kind: type[T]) -> T:
    """The document in ``data``; raises msgspec.ValidationError that names the field."""
    return msgspec.json.decode(data, type=kind)


def digest(data: bytes) -> str:
    """SHA-256 of a document's bytes, as the manifest holds it."""
    return hashlib.sha256(data).hexdigest()


def ha1(username: str, realm: str, password: str, algorithm: DigestAlgorithm) -> str:
    """H(username:realm:password) in hex (RFC 7616 section 3.4.2, RFC 8760)."""
    text = f"{username}:{realm}:{password}".encode()
    if algorithm == "SHA-256":
        return hashlib.sha256(text).hexdigest()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()
