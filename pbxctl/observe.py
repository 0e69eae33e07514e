"""What runs: put together from the engine, the registry and the Call Manager's API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.deployment import Deployment
from pbxctl.engines.engine import Drift, Endpoints, Engine, EngineError, JobStatus, LeftBehind
from pbxctl.plan import Running, secret_fingerprints
from pbxctl.registry_client import (
    RegistryClient,
    RegistryError,
    Service,
    documents_of,
    switches_of,
)
from services.core import configuration
from services.core.configuration import Switch

CALL_MANAGER = "call-manager"
ASK_WITHIN = 5.0
"""Seconds for a Call Manager to say what it holds, before it counts as not there."""
LOOK_WITHIN = 4.0
"""Seconds for engine and registry: who looks at what is broken does not sit their time-outs out."""
NO_ENGINE = f"the engine did not say within {LOOK_WITHIN:g} s what runs: of jobs nothing is known"
NO_REGISTRY = f"the registry did not answer within {LOOK_WITHIN:g} s: of servers nothing is known"
LAST_PICTURE = "the registry at {} has no leader: what it says of servers is from before"


class TenantUsers(msgspec.Struct, frozen=True, kw_only=True):
    """``digest`` is of the users that the spec gave; ``users`` counts all of the tenant's."""

    name: str
    users: int = 0
    digest: str = ""


class SecretPrint(msgspec.Struct, frozen=True, kw_only=True):
    """A secret's name, and the fingerprint that tells whether it is the same."""

    name: str
    fingerprint: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one Call Manager's store holds: digests by tenant, fingerprints by secret, sounds."""

    directories: dict[str, str]
    secrets: dict[str, str]
    sounds: frozenset[str]


async def held(client: AdminClient) -> Held:
    """Raises AdminError."""
    tenants = await client.get("/v1/tenants", list[TenantUsers])
    secrets = await client.get("/v1/secrets", list[SecretPrint])
    return Held(
        directories={tenant.name: tenant.digest for tenant in tenants},
        secrets={secret.name: secret.fingerprint for secret in secrets},
        sounds=frozenset(await client.get("/v1/sounds", list[str])),
    )


async def observe(engine: Engine, deployment: Deployment) -> Running:
    """What runs of the deployment's cluster; nothing at all if it never did.

    Where the engine does not run, what it left behind is asked instead.
    A Call Manager that does not answer counts as one that holds no users and no secrets: they are
    sent again, which changes nothing where they are there. Raises EngineError and RegistryError.
    """
    cluster = deployment.cluster
    stopped = ""
    drift: dict[str, Drift] = {}
    if await engine.running():
        jobs = await engine.jobs(cluster)
        registered = {job.id: job.fingerprint for job in jobs}
        same = [j for j in deployment.jobs if registered.get(j.id) == engine.fingerprint(j)]
        drift = await engine.drift(same)
        endpoints = await engine.endpoints()
        token = endpoints.admin_token
        with RegistryClient.of(endpoints, cluster) as registry:
            manifest, documents = await registry.documents()
            managers = await registry.services([CALL_MANAGER])
    else:
        left = await engine.left_behind(cluster)
        if not left.jobs:
            return Running()
        jobs, token, stopped = left.jobs, left.admin_token, going_on(left.tasks)
        manifest, documents = documents_of(below(left.values, cluster, "config/"))
        managers = [each for each in left_services(left) if each.role == CALL_MANAGER]
    all_held: list[Held] = []
    for manager in managers:
        with trio.move_on_after(ASK_WITHIN), contextlib.suppress(AdminError):
            async with AdminClient(manager.admin, token, patience=0) as client:
                all_held.append(await held(client))
    return Running(
        engine_stopped=stopped,
        jobs=jobs,
        manifest=manifest,
        documents=documents,
        directories=common(each.directories for each in all_held),
        secrets=common(each.secrets for each in all_held),
        wanted=secret_fingerprints(token, deployment.secrets),
        drift=drift,
        sounds=_everywhere(all_held),
    )


def _everywhere(all_held: list[Held]) -> frozenset[str]:
    """The sounds that every store has."""
    found: frozenset[str] | None = None
    for each in all_held:
        found = each.sounds if found is None else found & each.sounds
    return found or frozenset()


def going_on(tasks: int) -> str:
    """``5 of its tasks do (calls go on)``, where the engine does not run."""
    if not tasks:
        return "none of its tasks does either"
    return f"{tasks} of its tasks {'does' if tasks == 1 else 'do'} (calls go on)"


def stopped_text(cluster: str, left: LeftBehind) -> str:
    """What to tell of a cluster whose engine does not run."""
    if not left.tasks:
        return f"{cluster} does not run; start it with pbxctl apply"
    return f"the engine of {cluster} does not run; {going_on(left.tasks)}; pbxctl apply starts it"


def below(values: dict[str, bytes], cluster: str, folder: str) -> dict[str, bytes]:
    """A folder of the cluster's in the key-value store, keys relative to it."""
    root = configuration.prefix(cluster) + folder
    return {k.removeprefix(root): v for k, v in values.items() if k.startswith(root)}


def left_services(left: LeftBehind) -> tuple[Service, ...]:
    """Services of an engine that does not run; ``status`` is unknown, so a warning."""
    return tuple(
        Service(
            id=each.id,
            role=each.name,
            server=each.meta.get("server", ""),
            release=each.meta.get("release", ""),
            status="warning",
            check="",
            admin=each.meta.get("admin", "").rstrip("/"),
            capacity=int(each.meta["capacity"]) if each.meta.get("capacity", "").isdigit() else 0,
            meta=each.meta,
            address=each.address,
            port=each.port,
        )
        for each in left.services
    )


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a role's ``/health`` says."""

    status: str
    output: str = ""
    problems: list[str] = []


async def asked(service: Service, token: str) -> Service:
    """The service as it says itself that it is: for when no registry can be asked."""
    found = Health(status="critical", output="does not answer")
    with trio.move_on_after(ASK_WITHIN), contextlib.suppress(AdminError):
        async with AdminClient(service.admin, token, patience=0) as client:
            found = await client.get("/health", Health)
    # That the registry is away is the engine's trouble, told once.
    others = [each for each in found.problems if "registry" not in each]
    status = "passing" if found.status == "warning" and not others else found.status
    text = "; ".join([found.output, *others])
    return msgspec.structs.replace(service, status=status, check=text)


def common(maps: Iterable[dict[str, str]]) -> dict[str, str]:
    """What all of them say alike; what one lacks or has otherwise is left out."""
    first, *rest = list(maps) or [dict[str, str]()]
    return {k: v for k, v in first.items() if all(other.get(k) == v for other in rest)}


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator looks at. ``problems`` says what could not be seen, for people.

    ``engine_known`` is False where the engine cannot be asked but the registry can: then nothing is
    known of jobs. ``holder`` has the VIP, empty where nobody has or nothing moves.
    """

    cluster: str
    engine_runs: bool
    engine_known: bool = True
    jobs: tuple[JobStatus, ...] = ()
    services: tuple[Service, ...] = ()
    switches: dict[tuple[str, str], Switch] = {}
    endpoints: Endpoints | None = None
    problems: tuple[str, ...] = ()
    holder: str = ""


async def _look_at_what_is_left(engine: Engine, cluster: str) -> Picture:
    left = await engine.left_behind(cluster)
    if not left.tasks:
        return Picture(cluster=cluster, engine_runs=False)
    return Picture(
        cluster=cluster,
        engine_runs=False,
        jobs=left.jobs,
        services=tuple([await asked(each, left.admin_token) for each in left_services(left)]),
        switches=switches_of(below(left.values, cluster, "switches/")),
        endpoints=Endpoints(registry="", admin_token=left.admin_token),
        problems=(stopped_text(cluster, left),),
    )


async def look(engine: Engine, cluster: str) -> Picture:
    """Jobs, services and switches as they are now, or as they were last known.

    The engine and the registry are asked at once, and have `LOOK_WITHIN` s each. What one of them
    does not say is a problem in the picture. Raises EngineError where nobody can be asked at all.
    """
    problems: list[str] = []
    picture = Picture(cluster=cluster, engine_runs=True, engine_known=False)
    refused = ""

    async def ask_engine() -> None:
        nonlocal picture
        try:
            runs = await engine.running()
            jobs = await engine.jobs(cluster) if runs else ()
        except EngineError as error:
            problems.append(str(error))
            return
        picture = msgspec.structs.replace(picture, engine_runs=runs, engine_known=True, jobs=jobs)

    async def ask_registry() -> None:
        nonlocal picture, refused
        try:
            endpoints = await engine.endpoints()
        except EngineError as error:
            refused = str(error)
            return
        picture = msgspec.structs.replace(picture, endpoints=endpoints)
        try:
            with RegistryClient.of(endpoints, cluster, stale=True) as registry:
                services = await registry.services(await registry.roles())
                switches = await registry.switches()
                holder = await registry.holder("vip")
                if not await registry.has_leader():
                    problems.append(LAST_PICTURE.format(endpoints.registry))
        except RegistryError as error:
            problems.append(str(error))
            return
        picture = msgspec.structs.replace(
            picture, services=services, switches=switches, holder=holder
        )

    async def in_time(ask: Callable[[], Awaitable[None]], silent: str) -> None:
        with trio.move_on_after(LOOK_WITHIN) as scope:
            await ask()
        if scope.cancelled_caught:
            problems.append(silent)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_time, ask_engine, NO_ENGINE)
        nursery.start_soon(in_time, ask_registry, NO_REGISTRY)
    if not picture.engine_runs:
        return await _look_at_what_is_left(engine, cluster)
    if refused:
        raise EngineError("; ".join(dict.fromkeys((*problems, refused))))
    return msgspec.structs.replace(picture, problems=tuple(problems))


class NoCallManagerError(AdminError):
    """No Call Manager of the cluster can be asked."""


async def managers(engine: Engine, cluster: str) -> tuple[tuple[Service, ...], str]:
    """The Call Managers, passing ones first, and the token of their APIs.

    Raises NoCallManagerError, EngineError, RegistryError.
    """
    try:
        runs = await engine.running()
    except EngineError:
        runs = True  # nobody knows, and what runs is asked without the engine
    if not runs:
        raise NoCallManagerError(stopped_text(cluster, await engine.left_behind(cluster)))
    endpoints = await engine.endpoints()
    with RegistryClient.of(endpoints, cluster) as registry:
        found = await registry.services([CALL_MANAGER])
    usable = [each for each in found if each.admin and each.status != "critical"]
    if not usable:
        why = "; ".join(f"{each.server}: {each.check or each.status}" for each in found)
        raise NoCallManagerError(
            f"no Call Manager of {cluster} is up ({why or 'none is registered'}); "
            "see pbxctl status and pbxctl logs"
        )
    return tuple(sorted(usable, key=lambda each: each.status != "passing")), endpoints.admin_token


@asynccontextmanager
async def call_manager(engine: Engine, cluster: str) -> AsyncGenerator[AdminClient]:
    """A client of one Call Manager, a passing one if there is any; raises as `managers` does."""
    found, token = await managers(engine, cluster)
    async with AdminClient(found[0].admin, token) as client:
        yield client
