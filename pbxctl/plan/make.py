"""What apply would do: a pure function of a deployment and what runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pbxctl.compile import manifest as manifest_of
from pbxctl.deployment import Deployment, Directory, Job, Variable
from pbxctl.engines.engine import Drift, JobStatus
from pbxctl.plan import documents
from pbxctl.plan.differences import Differences, between, words
from pbxctl.plan.value import Action, Change, Plan, Running
from services.core import configuration

EMPTY_DIGESTS = ("", configuration.digest(b"[]"))
"""What the Call Manager holds of a tenant to which the spec gives no users."""

LIVE = documents.LIVE


def make_plan(deployment: Deployment, running: Running, fingerprints: Mapping[str, str]) -> Plan:
    """The changes that lead from what runs to the deployment; none if there is nothing to do.

    ``fingerprints`` are `Engine.fingerprint` of the deployment's jobs, by id.
    """
    changes = [
        *_engine(deployment, running),
        *_servers(deployment, running),
        *_roles(deployment, running),
        *_jobs(deployment, running, fingerprints),
        *documents.changes(deployment, running),
        *_users(deployment, running),
        *_secrets(deployment, running),
        *_sounds(deployment, running),
    ]
    if not changes and running.manifest != manifest_of(deployment):
        text = "the last apply did not finish: its configuration is written but not in force"
        changes.append(Change(action="change", subject=deployment.cluster, text=text, effect=LIVE))
    return Plan(
        cluster=deployment.cluster,
        release=deployment.release,
        deployment=_deployment_digest(deployment, fingerprints),
        basis=_basis(running),
        changes=tuple(changes),
    )


def _engine(deployment: Deployment, running: Running) -> Iterable[Change]:
    """An engine that died, or was not started after a reboot."""
    if running.engine_stopped:
        yield Change(
            action="change",
            subject=deployment.cluster,
            text=f"its engine does not run; {running.engine_stopped}",
            effect="starts the engine",
        )


def _deployment_digest(deployment: Deployment, fingerprints: Mapping[str, str]) -> str:
    whole = (deployment.spec_hash, sorted(deployment.secrets), dict(fingerprints))
    return configuration.digest(configuration.encode(whole))


def _basis(running: Running) -> str:
    whole = (
        {job.id: job.fingerprint for job in running.jobs},
        running.manifest,
        {key: configuration.digest(value) for key, value in running.documents.items()},
        running.directories,
        running.secrets,
        running.wanted,
        {job: drift.text for job, drift in running.drift.items()},
    )
    return configuration.digest(configuration.encode(whole))


def _by_server(jobs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for server, role in sorted(jobs):
        found.setdefault(server, []).append(role)
    return found


def _servers(deployment: Deployment, running: Running) -> Iterable[Change]:
    """Servers that come, that go, and that gain or lose a role."""
    wanted = _by_server((job.server, job.role) for job in deployment.jobs)
    there = _by_server((job.server, job.role) for job in running.jobs)
    for server, roles in wanted.items():
        gained = [role for role in roles if role not in there.get(server, ())]
        if gained and server not in there:
            text = f"new server: joins {', '.join(gained)}"
            yield Change(action="add", subject=server, text=text)
        elif gained:
            text = f"joins {', '.join(gained)}"
            yield Change(
                action="change", subject=server, text=text, effect="no other role restarts"
            )
    for server, roles in there.items():
        lost = [role for role in roles if role not in wanted.get(server, ())]
        if lost:
            action: Action = "change" if server in wanted else "remove"
            ids = tuple(job.id for job in running.jobs if job.server == server and job.role in lost)
            text = f"leaves {', '.join(lost)}"
            effect = "drains first" if set(lost) <= {"media", "ivr"} else "stops"
            yield Change(action=action, subject=server, text=text, effect=effect, restarts=ids)


def _roles(deployment: Deployment, running: Running) -> Iterable[Change]:
    """How many servers a role has, where that changes."""
    for role in sorted({job.role for job in deployment.jobs}):
        new = {job.server for job in deployment.jobs if job.role == role}
        old = {job.server for job in running.jobs if job.role == role}
        if old and len(new) != len(old):
            stay = ", ".join(sorted(old & new))
            yield Change(
                action="change",
                subject=role,
                text=f"count {len(old)} → {len(new)}",
                effect=f"no restart of {stay}" if stay else "",
                differences={"count": (len(old), len(new))},
            )


def _jobs(
    deployment: Deployment, running: Running, fingerprints: Mapping[str, str]
) -> Iterable[Change]:
    """Jobs that run with other settings than they should."""
    there = {job.id: job for job in running.jobs}
    for job in deployment.jobs:
        old = there.get(job.id)
        if old is None:
            continue
        if old.fingerprint == fingerprints.get(job.id):
            if job.id in running.drift:
                yield _set_back(job, running.drift[job.id])
            elif gave_up(old):
                text = f"{job.role}: does not run: {old.trouble}"
                effect = f"starts {job.role} on {job.server}"
                yield Change(action="change", subject=job.server, text=text, effect=effect)
            continue
        differences: Differences = {}
        if old.release != deployment.release:
            differences = {"release": (old.release, deployment.release)}
        if old.variables:
            differences = between(
                _told(old.variables, job.variables), _as_in(old.variables, job.variables)
            )
            differences.pop("spec_hash", None)
        # With equal variables it is the job file that differs; without any, nobody can tell.
        unknown = "job file changed" if old.variables else "settings or job file changed"
        # One that somebody stopped has no fingerprint: nothing of it runs.
        stopped = "" if old.fingerprint else old.trouble
        text = f"{job.role}: {stopped or words(differences) or unknown}"
        yield Change(
            action="change",
            subject=job.server,
            text=text,
            effect=f"{'starts' if stopped else 'restarts'} {job.role} on {job.server}",
            restarts=(job.id,),
            differences=differences,
        )


def gave_up(job: JobStatus) -> bool:
    """Whether the engine has given the job up, for a reason that it tells."""
    return job.state == "dead" and bool(job.trouble)


def _set_back(job: Job, drift: Drift) -> Change:
    """A job that is no longer what pbxctl registered."""
    effect = f"set back; restarts {job.role} on {job.server}"
    return Change(
        action="change",
        subject=job.server,
        text=f"{job.role}: {drift.text}",
        effect=effect if drift.restarts else "set back, no restart",
        restarts=(job.id,) if drift.restarts else (),
    )


def _told(old: Mapping[str, Variable], new: Mapping[str, Variable]) -> Mapping[str, Variable]:
    """``old`` without what the job file itself gave, where an engine keeps only text of it all."""
    if all(isinstance(value, str) for value in old.values()):
        return {name: value for name, value in old.items() if name in new}
    return old


def _as_in(old: Mapping[str, Variable], new: Mapping[str, Variable]) -> dict[str, Variable]:
    """``new``, numbers as text where an engine that keeps only text has them so."""
    return {
        name: str(value) if isinstance(old.get(name), str) else value for name, value in new.items()
    }


def _users(deployment: Deployment, running: Running) -> Iterable[Change]:
    """Tenants whose users are not those of the spec. A new tenant's are told of with it."""
    wanted: dict[str, Directory] = {d.tenant: d for d in deployment.directories}
    for tenant in sorted(wanted.keys() | running.directories.keys()):
        new, old = wanted.get(tenant), running.directories.get(tenant, "")
        if f"tenants/{tenant}" not in running.documents and new is not None:
            continue
        digest = new.digest if new is not None else ""
        if old == digest or {old, digest} <= set(EMPTY_DIGESTS):
            continue
        users = len(new.users) if new is not None else 0
        if old in EMPTY_DIGESTS:
            yield Change(
                action="add", subject=tenant, text=f"{documents.count(users, 'user')}", effect=LIVE
            )
        elif users:
            text = f"users changed, {users:,} in the spec"
            yield Change(action="change", subject=tenant, text=text, effect=LIVE)
        elif new is not None or f"tenants/{tenant}" not in running.documents:
            text = "the spec's users removed"
            yield Change(action="remove", subject=tenant, text=text, effect=LIVE)


def _sounds(deployment: Deployment, running: Running) -> Iterable[Change]:
    """Files that menus play and the store does not have; what none plays any more goes quietly."""
    lacking = len(set(deployment.sounds) - running.sounds)
    if lacking:
        text = "1 file of sound" if lacking == 1 else f"{lacking} files of sound"
        yield Change(action="add", subject="sounds", text=text, effect=LIVE if running.jobs else "")


def _secrets(deployment: Deployment, running: Running) -> Iterable[Change]:
    for name in deployment.secrets:
        old, new = running.secrets.get(name), running.wanted.get(name)
        if old is None:
            effect = LIVE if running.jobs else ""
            yield Change(action="add", subject=name, text="new secret", effect=effect)
        elif new is not None and old != new:
            yield Change(action="change", subject=name, text="secret changed", effect=LIVE)
