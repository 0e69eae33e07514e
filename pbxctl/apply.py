"""Makes a deployment true step by step; stopping anywhere leaves something to go on from.

Order: engine → new jobs → documents, manifest last → changed jobs, one after the other → secrets
and users → jobs that go, drained first → wait until all is healthy and in force. Every step looks
at what is there and does only what is missing, so the same apply again finishes what was stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError, users_path
from pbxctl.compile import manifest
from pbxctl.deployment import Deployment, Directory, Job
from pbxctl.draining import emptied, take_back
from pbxctl.engines.engine import Endpoints, Engine
from pbxctl.health import Seen, judge, look_at
from pbxctl.observe import CALL_MANAGER, held, observe
from pbxctl.plan import EMPTY_DIGESTS, Plan, Running, gave_up, make_plan, secret_fingerprint
from pbxctl.progress import Journal, Progress
from pbxctl.registry_client import MANIFEST, RegistryClient
from pbxctl.rolling import first_start
from pbxctl.rollout import VIP, Rollout
from pbxctl.standing import Standing, standing
from services.core import configuration

POLL = 0.1
"""Seconds between two looks at what converges."""
WRITE_WITHIN = 15.0
"""Seconds that writing a set of documents may go on after Ctrl-C, so that it is whole."""
CHUNK = 64 * 1024


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What apply does to jobs and documents. ``delete``: keys that the manifest no longer has.

    ``set_back`` are jobs that were changed behind pbxctl's back in what restarts nothing, or that
    the engine has given up.
    """

    new: tuple[Job, ...]
    changed: tuple[Job, ...]
    set_back: tuple[Job, ...]
    leaving: tuple[str, ...]
    write: dict[str, bytes]
    delete: tuple[str, ...]
    manifest: bytes | None


def manifest_of(deployment: Deployment) -> bytes:
    """The manifest's bytes: what makes the deployment's documents the ones in force."""
    return configuration.encode(manifest(deployment))


def work(deployment: Deployment, running: Running, fingerprints: Mapping[str, str]) -> Work:
    """What differs between what should run and what does. ``fingerprints`` by job id."""
    there = {job.id: job.fingerprint for job in running.jobs}
    wanted = {job.id for job in deployment.jobs}
    given_up = {job.id for job in running.jobs if gave_up(job)}
    restarting = {job_id for job_id, drift in running.drift.items() if drift.restarts}
    write = {k: v for k, v in deployment.documents.items() if running.documents.get(k) != v}
    delete = tuple(sorted(set(running.documents) - set(deployment.documents)))
    same = running.manifest == manifest(deployment)
    return Work(
        new=tuple(job for job in deployment.jobs if job.id not in there),
        changed=tuple(
            job
            for job in deployment.jobs
            if job.id in there and (there[job.id] != fingerprints[job.id] or job.id in restarting)
        ),
        set_back=tuple(
            job
            for job in deployment.jobs
            if (job.id in running.drift or job.id in given_up)
            and job.id not in restarting
            and there.get(job.id) == fingerprints[job.id]
        ),
        leaving=tuple(sorted(set(there) - wanted)),
        write=write,
        delete=delete,
        manifest=None if same and not write else manifest_of(deployment),
    )


class Apply:
    """One apply of a deployment. ``drain`` is how many seconds a media server may take to empty.

    ``patience`` is how many a job that is replaced may take to be healthy, before it is put back
    as it was (where the engine can). ``journal`` tells afterwards what was done.
    """

    def __init__(
        self,
        deployment: Deployment,
        engine: Engine,
        progress: Progress,
        *,
        drain: float = 30.0,
        patience: float = 120.0,
    ) -> None:
        self.deployment = deployment
        self.engine = engine
        self.journal = Journal(progress)
        self.progress: Progress = self.journal
        self.drain = drain
        self.patience = patience
        self.fingerprints = {job.id: engine.fingerprint(job) for job in deployment.jobs}

    async def run(self, running: Running) -> None:
        """Returns when everything is healthy and in force; waits for ever if it never is.

        Raises EngineError, RegistryError and AdminError. May be cancelled anywhere.
        """
        ran = await self.engine.running()
        if not ran:
            self.progress.doing("starting the engine")
        await self.engine.start()
        if not ran:
            # It may have come back with the jobs and documents of before.
            running = await observe(self.engine, self.deployment)
        todo = work(self.deployment, running, self.fingerprints)
        endpoints = await self.engine.endpoints()
        with RegistryClient.of(endpoints, self.deployment.cluster) as registry:
            await take_back(registry)
            for job in first_start(todo.new):
                self.progress.doing(f"starting {job.role} on {job.server}")
                await self.engine.register(job)
            if todo.manifest is not None or todo.delete:
                self.progress.doing("writing the configuration")
                await write_documents(registry, todo)
            for job in todo.set_back:
                self.progress.doing(f"registering {job.role} on {job.server} again")
                await self.engine.register(job)
            await self._rollout(registry, endpoints).replace(todo.changed)
            await self._fill_call_managers(registry, endpoints)
            for job_id in todo.leaving:
                await self._leave_vip(registry, endpoints, running, job_id)
                await self._remove(registry, endpoints, job_id)
            await self._forget_the_dead(registry)
            self.progress.doing("waiting until all is healthy and in force")
            await self._converged(registry, endpoints)

    def _rollout(self, registry: RegistryClient, endpoints: Endpoints) -> Rollout:
        return Rollout(
            self.deployment,
            self.engine,
            self.progress,
            registry,
            endpoints,
            self.fingerprints,
            drain=self.drain,
            patience=self.patience,
        )

    async def _leave_vip(
        self, registry: RegistryClient, endpoints: Endpoints, running: Running, job_id: str
    ) -> None:
        """A Call Manager that goes hands the VIP over first, if it has it."""
        going = next(job for job in running.jobs if job.id == job_id)
        if going.role == CALL_MANAGER and await registry.holder(VIP) == going.server:
            await self._rollout(registry, endpoints).hand_over(going.server)

    async def _remove(self, registry: RegistryClient, endpoints: Endpoints, job_id: str) -> None:
        async with emptied(
            registry, endpoints.admin_token, job_id, self.progress, within=self.drain
        ):
            self.progress.doing(f"stopping {job_id}")
            await self.engine.deregister(job_id)

    async def _forget_the_dead(self, registry: RegistryClient) -> None:
        """Services that no job stands for: a role that was killed could not deregister itself."""
        jobs = {job.id for job in await self.engine.jobs(self.deployment.cluster)}
        roles = {job.role for job in self.deployment.jobs} | {"media", "ivr", CALL_MANAGER}
        for service in await registry.services(sorted(roles)):
            if service.id not in jobs:
                await registry.forget(service)

    async def _fill_call_managers(self, registry: RegistryClient, endpoints: Endpoints) -> None:
        """Secrets and users into every Call Manager's store that lacks them.

        Where managers share one store, the second is found to have what the first was given.
        """
        wanted = {job.id for job in self.deployment.jobs if job.role == CALL_MANAGER}
        waiting = False
        while wanted:
            for manager in await registry.services([CALL_MANAGER]):
                if manager.id in wanted and manager.admin:
                    try:
                        async with AdminClient(
                            manager.admin, endpoints.admin_token, patience=0
                        ) as client:
                            await self._fill(client)
                    except AdminError as error:
                        if error.status:
                            raise
                        continue  # not up yet: registered before, or just starting
                    wanted.remove(manager.id)
            if wanted:
                if not waiting:
                    self.progress.doing("waiting for the Call Manager's API")
                    waiting = True
                await self._show(registry, endpoints)
                await trio.sleep(POLL)

    async def _fill(self, client: AdminClient) -> None:
        has = await held(client)
        for digest in sorted(set(self.deployment.sounds) - has.sounds):
            self.progress.doing(f"writing sound {digest[:12]}")
            await client.put_sound(digest, self.deployment.sounds[digest])
        for digest in sorted(has.sounds - set(self.deployment.sounds)):
            await client.send("DELETE", f"/v1/sounds/{digest}")
        for name, value in self.deployment.secrets.items():
            if has.secrets.get(name) != secret_fingerprint(client.token, name, value):
                self.progress.doing(f"writing secret {name}")
                await client.put_secret(name, value)
        for directory in self.deployment.directories:
            old = has.directories.get(directory.tenant, "")
            if old != directory.digest and not {old, directory.digest} <= set(EMPTY_DIGESTS):
                many = len(directory.users)
                users = f"{many:,} user{'' if many == 1 else 's'}"
                self.progress.doing(f"writing {users} of {directory.tenant}")
                await put_directory(client, directory)
        kept = {each.tenant for each in self.deployment.directories}
        for tenant, old in sorted(has.directories.items()):
            if tenant not in kept and old not in EMPTY_DIGESTS:
                self.progress.doing(f"removing the spec's users of {tenant}")
                gone = Directory(tenant=tenant, users=(), digest=EMPTY_DIGESTS[1])
                await put_directory(client, gone)

    async def _show(self, registry: RegistryClient, endpoints: Endpoints) -> Seen:
        seen = await look_at(self.engine, registry, endpoints, self.deployment.cluster)
        self.progress.health(judge(self.deployment.jobs, self.fingerprints, seen, None).roles)
        return seen

    async def _converged(self, registry: RegistryClient, endpoints: Endpoints) -> None:
        """Until all jobs are healthy and the manifest is in force."""
        digest = configuration.digest(manifest_of(self.deployment))
        while True:
            seen = await look_at(self.engine, registry, endpoints, self.deployment.cluster)
            verdict = judge(self.deployment.jobs, self.fingerprints, seen, digest)
            self.progress.health(verdict.roles)
            if verdict.done:
                return
            await trio.sleep(POLL)


async def write_documents(registry: RegistryClient, todo: Work) -> None:
    """Changed documents, then the manifest, then what it no longer names is removed.

    Ctrl-C in the middle lets the set become whole first: until the manifest is written, readers
    keep what they have, but one that starts anew in between would find no whole set.
    """
    with trio.CancelScope(shield=True, deadline=trio.current_time() + WRITE_WITHIN):
        for key in sorted(todo.write):
            await registry.write(key, todo.write[key])
        if todo.manifest is not None:
            await registry.write(MANIFEST, todo.manifest)
        for key in todo.delete:
            await registry.delete(key)


class _Stored(msgspec.Struct):
    """The answer to a bulk of users; its figures are not needed here."""


async def put_directory(client: AdminClient, directory: Directory) -> None:
    """Makes the store's users of the spec these and no others. Raises AdminError."""
    await client.stream(
        users_path(directory.tenant),
        ndjson(directory),
        _Stored,
        {"replace": "spec", "digest": directory.digest},
    )


async def ndjson(directory: Directory) -> AsyncIterator[bytes]:
    """The users, one JSON object a line, in chunks."""
    chunk = bytearray()
    for user in directory.users:
        chunk += configuration.encode(user) + b"\n"
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


async def where_it_stands(deployment: Deployment, engine: Engine, plan: Plan) -> Standing:
    """What of ``plan`` is in force now: the plan is made again, and what it still lists is not.

    Raises EngineError, RegistryError and AdminError.
    """
    running = await observe(engine, deployment)
    fingerprints = {job.id: engine.fingerprint(job) for job in deployment.jobs}
    left = make_plan(deployment, running, fingerprints)
    waiting: dict[str, str] = {}
    if await engine.running():
        endpoints = await engine.endpoints()
        with RegistryClient.of(endpoints, deployment.cluster) as registry:
            seen = await look_at(engine, registry, endpoints, deployment.cluster)
        # Of a job that is as before, the plan says so already.
        started = [
            job
            for job in deployment.jobs
            if job.id in seen.jobs and seen.jobs[job.id].fingerprint == fingerprints[job.id]
        ]
        digest = configuration.digest(manifest_of(deployment))
        waiting = judge(started, fingerprints, seen, digest).waiting
    return standing(deployment, plan, left, waiting)
