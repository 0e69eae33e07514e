"""Replaces jobs that have changed, one by one, with calls up; puts back what does not get well."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.deployment import Deployment, Job
from pbxctl.draining import emptied
from pbxctl.engines.engine import Endpoints, Engine, EngineError, JobStatus
from pbxctl.health import judge, look_at
from pbxctl.progress import Progress
from pbxctl.registry_client import RegistryClient, RegistryError
from pbxctl.rolling import in_the_way, must_hand_over, next_job, worth_waiting
from pbxctl.switching import CALL_MANAGER, MEDIA, media_states

VIP = "vip"
POLL = 0.1
MEDIA_ELSEWHERE = 30.0
HAND_OVER = 15.0
"""Seconds for the VIP to be on another manager; it takes a tenth of one as a rule."""


class Rollout:
    """``drain`` is how many seconds a media server may take to empty, ``patience`` how many a
    job that was replaced may take to be healthy, ``fingerprints`` are the deployment's jobs'.
    """

    def __init__(
        self,
        deployment: Deployment,
        engine: Engine,
        progress: Progress,
        registry: RegistryClient,
        endpoints: Endpoints,
        fingerprints: dict[str, str],
        *,
        drain: float,
        patience: float,
    ) -> None:
        self.deployment = deployment
        self.engine = engine
        self.progress = progress
        self.registry = registry
        self.endpoints = endpoints
        self.fingerprints = fingerprints
        self.drain = drain
        self.patience = patience

    async def replace(self, changed: Sequence[Job]) -> None:
        """All of them; the next is touched only when the one before is healthy.

        Where one does not get so, it is put back, and so is what was replaced before it. Raises
        EngineError, RegistryError and AdminError; after another error what was replaced stays so.
        """
        remaining = list(changed)
        replaced: list[tuple[Job, JobStatus]] = []
        while remaining:
            holder = await self.registry.holder(VIP)
            job = next_job(remaining, holder)
            await self._spare(job, holder)
            before = await self._well(job)
            try:
                await self._replace(job, before)
            except _PutBackError as error:
                raise EngineError(f"{error}{await self._undo(replaced)}") from None
            if before is not None:
                replaced.append((job, before))
            remaining.remove(job)

    async def _spare(self, job: Job, holder: str) -> None:
        """Until the job's role, and calls, can do without its server."""
        if must_hand_over(job, holder, self.deployment.jobs):
            await self.hand_over(holder)
        await self._others_ready(job)
        await self._calls_have_media(job)

    async def _undo(self, replaced: Sequence[tuple[Job, JobStatus]]) -> str:
        """Put all of these back, the last one first; what is to be said of it."""
        done: list[str] = []
        for job, before in reversed(replaced):
            name = f"{job.role} on {job.server}"
            try:
                await self._spare(job, await self.registry.holder(VIP))
                async with self._empty(job):
                    kept = await self._put_back(job, before, "goes back with the others")
            except (EngineError, RegistryError, AdminError) as error:
                return f"{_also(done)}; {name} and what was replaced before it stay: {error}"
            if not kept:
                return f"{_also(done)}; {name} and what was replaced before it stay"
            done.append(name)
        return _also(done)

    async def _replace(self, job: Job, before: JobStatus | None) -> None:
        async with self._empty(job):
            self.progress.doing(f"restarting {job.role} on {job.server} with its new settings")
            await self.engine.register(job)
            waiting = ""
            with trio.move_on_after(self.patience) as scope:
                await self.converged(job)
            if not scope.cancelled_caught:
                return
            waiting = await self._lacks(job) or "it was not healthy in time"
            if before is None or not await self._put_back(job, before, "is not healthy"):
                await self.converged(job)
                return
        release = f"release {before.release}" if before.release != _release(job) else "as it was"
        raise _PutBackError(
            f"{job.role} on {job.server} was not healthy within {self.patience:g} s ({waiting}), "
            f"so it was put back: it runs {release} again, and nothing after it was touched"
        )

    async def _put_back(self, job: Job, before: JobStatus, why: str) -> bool:
        """Whether the engine has what the job was before, and runs it again."""
        if not await self.engine.put_back(job.id, before.fingerprint):
            return False
        self.progress.doing(f"{job.role} on {job.server} {why}: putting it back")
        with trio.move_on_after(self.patience):
            await self.converged(job, before.fingerprint)
        return True

    async def converged(self, job: Job, fingerprint: str = "") -> None:
        """Until the job runs as it should, or with the fingerprint, and does its work."""
        prints = self.fingerprints | ({job.id: fingerprint} if fingerprint else {})
        while True:
            seen = await look_at(
                self.engine, self.registry, self.endpoints, self.deployment.cluster
            )
            verdict = judge((job,), prints, seen, None)
            self.progress.health(verdict.roles)
            if verdict.done:
                return
            await trio.sleep(POLL)

    async def _lacks(self, job: Job) -> str:
        seen = await look_at(self.engine, self.registry, self.endpoints, self.deployment.cluster)
        return judge((job,), self.fingerprints, seen, None).waiting.get(job.id, "")

    async def _well(self, job: Job) -> JobStatus | None:
        """The job as it runs, None if it is not well: then there is nothing to go back to."""
        seen = await look_at(self.engine, self.registry, self.endpoints, self.deployment.cluster)
        status = seen.jobs.get(job.id)
        if status is None:
            return None
        verdict = judge((job,), {job.id: status.fingerprint}, seen, None)
        return status if verdict.done else None

    @asynccontextmanager
    async def _empty(self, job: Job) -> AsyncGenerator[None]:
        async with emptied(
            self.registry, self.endpoints.admin_token, job.id, self.progress, within=self.drain
        ):
            yield

    async def _others_ready(self, job: Job) -> None:
        """Waits until the role can do without this server. Raises EngineError if it never can."""
        why = ""
        with trio.move_on_after(self.patience):
            while True:
                services = await self.registry.services([job.role])
                why = in_the_way(job, self.deployment.jobs, services)
                if not why:
                    return
                self.progress.doing(f"waiting before {job.role} on {job.server}: {why}")
                await trio.sleep(POLL * 5)
        raise EngineError(f"{job.role} on {job.server} is left as it is: {why}")

    async def _calls_have_media(self, job: Job) -> None:
        """Before a media server is emptied: every Call Manager has another one that takes calls.

        Not for ever: what another one lacks may be what this release mends.
        """
        others = [each for each in self.deployment.jobs if each.role == MEDIA and each != job]
        if job.role != MEDIA or not others:
            return
        with trio.move_on_after(MEDIA_ELSEWHERE):
            while True:
                managers = await self.registry.services([CALL_MANAGER])
                found = await media_states(managers, self.endpoints.admin_token)
                if not worth_waiting(job.server, found):
                    return
                self.progress.doing(f"waiting before {job.role} on {job.server}: for another one")
                await trio.sleep(POLL)

    async def hand_over(self, holder: str) -> None:
        """The VIP away from ``holder``, to who is well. Raises AdminError and EngineError."""
        self.progress.doing(f"handing the VIP over from {holder}")
        managers = await self.registry.services([CALL_MANAGER])
        own = next((each for each in managers if each.server == holder and each.admin), None)
        if own is None or not any(
            each.server != holder and each.status == "passing" for each in managers
        ):
            return  # there is nobody to ask, or nobody to take it: as in any failure
        with trio.move_on_after(HAND_OVER):
            async with AdminClient(own.admin, self.endpoints.admin_token) as client:
                try:
                    await client.fail_over()
                except AdminError as error:
                    if error.status:
                        raise
            while True:
                if await self.registry.holder(VIP) not in ("", holder):
                    return
                await trio.sleep(POLL)
        raise EngineError(f"the VIP stays on {holder}: no other manager took it over")


class _PutBackError(EngineError):
    """A job did not get healthy, and is again what it was."""


def _also(done: Sequence[str]) -> str:
    return f"; put back too: {', '.join(done)}" if done else ""


def _release(job: Job) -> str:
    return str(job.variables.get("release", ""))
