"""Bodies of the API, so that its OpenAPI is true. Times are Unix times in seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, Field

Limit = Annotated[int, Query(ge=1, le=10_000, description="At most so many")]
TenantName = Annotated[str, Path(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Extension = Annotated[str, Path(pattern=r"^[0-9*#]{2,15}$")]

DestinationKind = Literal["extension", "ring_group", "number", "announcement"]
Permission = Literal["internal", "national", "international"]


class Body(BaseModel):
    """Base of what is sent: a field that is not known is an error, a password above all."""

    model_config = {"extra": "forbid"}


class Destination(Body):
    kind: DestinationKind
    target: str = Field(min_length=1, max_length=255)


class Forward(Body):
    always: Destination | None = None
    busy: Destination | None = None
    no_answer: Destination | None = None
    no_answer_after: int = Field(20, ge=1, le=600, description="Seconds")
    not_registered: Destination | None = None


HA1_MD5 = Field("", pattern=r"^([0-9a-f]{32})?$", description="H(extension:realm:password), hex")
HA1_SHA256 = Field("", pattern=r"^([0-9a-f]{64})?$", description="H(extension:realm:password), hex")


class UserFields(Body):
    """A user without tenant and extension, which the path names. There is no plain password."""

    name: str = Field("", max_length=120)
    email: str = Field("", max_length=320)
    permission: Permission = "internal"
    max_calls: int = Field(0, ge=0, le=100_000)
    caller_id: str = Field("", pattern=r"^(\+[1-9][0-9]{4,14})?$")
    do_not_disturb: bool = False
    forward: Forward = Forward()  # pyright: ignore[reportCallIssue] - every field has a default
    record: bool = False
    enabled: bool = True


class UserWrite(UserFields):
    """Tenant and extension may be repeated; they have to be the path's."""

    tenant: str | None = None
    extension: str | None = None
    ha1_md5: str = HA1_MD5
    ha1_sha256: str = HA1_SHA256


class UserPatch(Body):
    """What is not given stays as it is."""

    name: str | None = Field(None, max_length=120)
    email: str | None = Field(None, max_length=320)
    permission: Permission | None = None
    max_calls: int | None = Field(None, ge=0, le=100_000)
    caller_id: str | None = Field(None, pattern=r"^(\+[1-9][0-9]{4,14})?$")
    do_not_disturb: bool | None = None
    forward: Forward | None = None
    record: bool | None = None
    enabled: bool | None = None
    ha1_md5: str | None = Field(None, pattern=r"^([0-9a-f]{32})?$")
    ha1_sha256: str | None = Field(None, pattern=r"^([0-9a-f]{64})?$")


class UserRead(UserFields):
    """A user as it is shown: HA1s are not. ``can_register``: it has at least one."""

    tenant: str
    extension: str
    source: Literal["spec", "api"]
    can_register: bool


class Bulk(BaseModel):
    """What a bulk of users did."""

    written: int
    unchanged: int
    removed: int


class BulkProblem(BaseModel):
    """Why a bulk was refused; nothing of it was written."""

    error: str
    problems: list[str]


class TenantUsers(BaseModel):
    """``digest`` is of the users that the spec gave, ``users`` counts all of the tenant's."""

    name: str
    users: int
    digest: str


class SecretWrite(Body):
    value: str = Field(max_length=4096)


class SecretPrint(BaseModel):
    """``fingerprint``: HMAC-SHA256 of name and value with the admin token, 16 hex digits."""

    name: str
    fingerprint: str


class Configuration(BaseModel):
    """``manifest`` is the digest of the manifest in force, ``registry_manifest`` of the registry's.

    They differ while ``problems`` says why.
    """

    manifest: str
    spec_hash: str
    release: str
    generation: int
    registry_manifest: str
    tenants: list[str]
    switch: Literal["enabled", "draining", "disabled"]
    media: list[MediaServer]
    apps: list[AppServer]
    problems: list[str]


class AppServer(BaseModel):
    """``state`` is ``down`` while it gets no calls for its health; ``calls`` as routing counts."""

    name: str
    role: str
    state: Literal["up", "draining", "disabled", "down"]
    sip: str
    capacity: int
    calls: int


class MediaServer(BaseModel):
    name: str
    state: Literal["up", "draining", "disabled", "down"]
    set: int
    control: str
    capacity: int
    calls: int


class CallUp(BaseModel):
    """A call that is up; ``answered`` is null while it rings. ``id`` is its Call-ID.

    ``app`` is the application server that it is on, ``ivr/app1``; ``within`` the Call-ID of the
    call that such a server makes this one for; ``way`` what it has come by there.
    """

    id: str
    tenant: str
    direction: Literal["internal", "inbound", "outbound"]
    caller: str
    callee: str
    trunk: str
    media: str
    server: str
    started: float
    answered: float | None
    answered_by: str
    app: str
    within: str
    way: list[str]


class Ways(Body):
    """The ways of calls at an application server by Call-ID, step by step, for people."""

    calls: dict[
        Annotated[str, Field(max_length=500)],
        Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)],
    ] = Field(max_length=1000)


class Quality(BaseModel):
    """``mos`` 1 to 5, ``loss`` per cent, ``jitter`` ms."""

    mos: float
    loss: float
    jitter: float


class FinishedCall(BaseModel):
    """``number`` counts up: give it as ``after`` for what came later. 0 where there was no time.

    ``within`` and ``way`` as of a call that is up.
    """

    number: int
    id: str
    tenant: str
    server: str
    direction: Literal["internal", "inbound", "outbound"] | None
    caller: str
    callee: str
    answered_by: str
    trunk: str
    media: str
    started: float
    answered: float
    ended: float
    code: int
    reason: str
    ended_by: Literal["caller", "callee", "system"]
    duration: float
    quality: Quality | None
    within: str
    way: list[str]


class Ending(BaseModel):
    """``result``: ``ended`` (BYE), ``cancelled`` (it rang), ``forgotten`` (Kamailio knew not)."""

    id: str
    result: Literal["ended", "cancelled", "forgotten"]


class Recorded(BaseModel):
    """Call-ID of a call, its media server, and whether that records it now."""

    id: str
    server: str
    recording: bool


class BindingRead(BaseModel):
    """A registered contact (RFC 3261 section 10.3); ``domain`` is the tenant's first SIP domain.

    It is empty where the configuration in force does not know the tenant.
    """

    id: str
    tenant: str
    extension: str
    domain: str
    contact: str
    received: str
    path: str
    user_agent: str
    socket: str
    call_id: str
    instance: str
    expires: float
    modified: float


class TrunkRead(BaseModel):
    """``options`` is the status of the last answer to OPTIONS, 0 where there was none."""

    name: str
    host: str
    transport: str
    addresses: list[str]
    registration: Literal["none", "registered", "registering", "no password", "no address"]
    options: int
    options_ms: float
    options_problem: str


class RecordingBody(Body):
    """An entry of the index; ``path`` is on ``server``, ``keep_until`` 0 for ever."""

    id: str = Field(min_length=1, max_length=255)
    call: str = Field(min_length=1, max_length=255)
    server: str = Field(min_length=1, max_length=64)
    path: str = Field(min_length=1, max_length=4096)
    started: float
    tenant: str = ""
    caller: str = ""
    callee: str = ""
    duration: float = Field(0.0, ge=0)
    size: int = Field(0, ge=0)
    keep_until: float = 0.0


class Ban(BaseModel):
    """``source`` is an address, or an IPv6 /64; ``expires`` is local time."""

    source: str
    reason: str
    expires: str
