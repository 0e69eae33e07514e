"""`ClusterSpec` → `Deployment`: what every job is told and what the documents say.

A pure function: the same spec and installation always give the same bytes. Users, trunks and the
dial plan go to documents and directories and to no job's variables, so changing them restarts
nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from pbxctl.deployment import Deployment, Directory, Job, Variable
from pbxctl.spec.model import ClusterSpec, Server, Tenant, Trunk
from services.core import configuration
from services.core.configuration import (
    NUMBERS_A_DOCUMENT,
    Alerts,
    Cluster,
    Manifest,
    NumberPlan,
    SecretRef,
    TrunkRegistration,
    User,
)
from services.core.menus import web_secret

SMTP_PASSWORD = "alerts.smtp.password"  # noqa: S105  # the secret's name
REGISTRY_HOST = "127.0.0.1"
"""Where the registry is for every role: the local engine's, or the host's own Consul agent."""
DATABASE_URL = "postgresql://pbx@/pbx?host={hosts}&port={ports}&target_session_attrs=read-write"
"""In a cluster; libpq's form for several hosts, of which it takes the one that can be written."""


PROBES = {"call-manager": 0, "media": 1, "database": 2, "live": 3, "ivr": 4}
"""Each role's probe port, counted from ``network.ports.probe``."""


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine adds to a spec.

    ``prefix``: programs are in ``prefix/bin``. ``state_dir`` is the engine's (docs/architecture.md,
    "Local engine"). ``release`` is what is installed. On Nomad the first two are the hosts' own,
    and the spec says them (`on_hosts`).
    """

    prefix: Path
    state_dir: Path
    release: str


def on_hosts(spec: ClusterSpec, installation: Installation) -> Installation:
    """Where programs and state are on the servers: this machine's, or what the spec says."""
    if spec.engine != "nomad":
        return installation
    release = spec.release or installation.release
    return Installation(
        prefix=Path(spec.install.prefix.replace("{release}", release)),
        state_dir=Path(spec.install.state) / spec.cluster,
        release=installation.release,
    )


def trunk_password(trunk: str) -> str:
    """The name of a trunk's registration password in the Call Manager's store."""
    return f"trunk.{trunk}.password"


def compile_spec(spec: ClusterSpec, installation: Installation) -> Deployment:
    """Everything that should run, from a spec that has been checked."""
    installation = on_hosts(spec, installation)
    jobs = tuple(
        _job(role, spec, server, installation)
        for role in sorted(_VARIABLES)
        for server in spec.with_role(role)
    )
    documents = _documents(spec)
    directories = tuple(_directory(tenant) for tenant in sorted(spec.tenants, key=_name))
    release = spec.release or installation.release
    return Deployment(
        cluster=spec.cluster,
        release=release,
        engine=spec.engine,
        spec_hash=_spec_hash(spec.cluster, release, jobs, documents, directories),
        jobs=jobs,
        documents=documents,
        directories=directories,
        secrets=_secrets(spec),
        sounds={digest: data for tenant in spec.tenants for digest, data in tenant.sounds.items()},
    )


def manifest(deployment: Deployment) -> Manifest:
    """What makes the deployment's documents the ones in force; written last."""
    return Manifest(
        spec_hash=deployment.spec_hash,
        release=deployment.release,
        documents={key: configuration.digest(v) for key, v in deployment.documents.items()},
    )


def _name(tenant: Tenant) -> str:
    return tenant.name


def _spec_hash(
    cluster: str,
    release: str,
    jobs: Sequence[Job],
    documents: dict[str, bytes],
    directories: Iterable[Directory],
) -> str:
    """Over everything but secrets: a digest of a weak secret would give it away."""
    whole = (
        cluster,
        release,
        [(job.id, job.variables) for job in jobs],
        {key: configuration.digest(value) for key, value in documents.items()},
        {directory.tenant: directory.digest for directory in directories},
    )
    return configuration.digest(configuration.encode(whole))


def _job(role: str, spec: ClusterSpec, server: Server, installation: Installation) -> Job:
    job_id = f"{spec.cluster}-{role}-{server.name}"
    state = installation.state_dir
    data_dir = state / "data" / server.name / role
    variables: dict[str, Variable] = {
        "id": job_id,
        "cluster": spec.cluster,
        "server": server.name,
        "release": spec.release or installation.release,
        "prefix": str(installation.prefix),
        "address": server.address,
        "public_address": spec.network.public_address,
        "registry": f"http://{REGISTRY_HOST}:{spec.network.ports.registry}",
        "data_dir": str(data_dir),
        "secrets_dir": str(state / "secrets"),
        **_together(role, spec),
        **_VARIABLES[role](spec, server, data_dir),
    }
    # Of this job's variables alone: what changes elsewhere in the spec restarts nothing here.
    variables["spec_hash"] = configuration.digest(configuration.encode(variables))
    return Job(id=job_id, role=role, server=server.name, variables=variables)


def _together(role: str, spec: ClusterSpec) -> dict[str, Variable]:
    """What every role is told of the others: who the managers are, and what moves between them.

    ``managers`` is empty on one machine, where there is nobody to vote and nothing that moves.
    """
    network = spec.network
    managers = spec.with_role("call-manager") if spec.engine == "nomad" else ()
    return {
        "managers": ",".join(f"{each.name}={each.address}" for each in managers),
        "probe_port": network.ports.probe + PROBES[role],
        "vip": network.vip,
        "vip_prefix": network.vip_prefix,
        "vip6": network.vip6,
    }


def _call_manager(spec: ClusterSpec, server: Server, data_dir: Path) -> dict[str, Variable]:
    ports = spec.network.ports
    return {
        "database_url": _database_url(spec, data_dir),
        "sip_port": ports.sip,
        "tls_port": ports.tls,
        "wss_port": ports.wss,
        "dmq_port": ports.dmq,
        "admin_port": ports.admin,
        "capacity": server.calls("call-manager"),
        "workers": server.capacity.workers,
        "shared_memory": server.capacity.shared_memory,
    }


def _database_url(spec: ClusterSpec, data_dir: Path) -> str:
    """A file on one machine; in a cluster the managers' PostgreSQL, whose password is a secret."""
    if spec.engine != "nomad":
        return f"sqlite:///{data_dir / 'pbx.db'}"
    hosts = [server.address for server in spec.with_role("database")]
    # One port for each host: SQLAlchemy counts them.
    ports = ",".join([str(spec.network.ports.database)] * len(hosts))
    return DATABASE_URL.format(hosts=",".join(hosts), ports=ports)


def _media(spec: ClusterSpec, server: Server, data_dir: Path) -> dict[str, Variable]:
    ports = spec.network.ports
    return {
        "media_address": server.media_address,
        "media_from": spec.network.media_from,
        "media_to": spec.network.media_to,
        "media_addresses": _floating(spec.media_addresses),
        "media_prefix": spec.network.vip_prefix or 32,
        "live": _live(spec),
        "control_address": _control_address(spec.engine, server.address),
        "control_port": ports.control,
        "announce_port": ports.announce,
        "admin_port": ports.media_admin,
        "recordings_dir": str(data_dir / "recordings"),
        "capacity": server.calls("media"),
    }


def _ivr(spec: ClusterSpec, server: Server, data_dir: Path) -> dict[str, Variable]:
    del data_dir
    ports = spec.network.ports
    return {
        "manager_port": ports.sip,
        "sip_port": ports.ivr,
        "audio_port": ports.ivr_audio,
        "admin_port": ports.ivr_admin,
        "capacity": server.calls("ivr"),
        "live": _live(spec),
    }


def _live(spec: ClusterSpec) -> str:
    """Where Redis is; empty on one machine."""
    return f"{spec.network.vip}:{spec.network.ports.live}" if spec.engine == "nomad" else ""


def _floating(addresses: Sequence[str]) -> str:
    """``10-20-0-121=10.20.0.121,…``: each media address under a name that it always has.

    Not its server's: one that comes later would change the settings, and restart all the others.
    """
    names = (address.replace(".", "-").replace(":", "-") for address in addresses)
    return ",".join(f"{n}={a}" for n, a in zip(names, addresses, strict=True))


def _control_address(engine: str, address: str) -> str:
    """Where rtpengine takes commands: on one machine, a loopback address of its own.

    Its protocol asks nobody who he is, and phones share the network that ``address`` is on. In a
    cluster the Call Managers are elsewhere, and a firewall keeps the rest out.
    """
    ip = ipaddress.ip_address(address)
    if engine == "nomad" or ip.is_loopback:
        return address
    return str(ipaddress.IPv4Address(bytes([127, *ip.packed[-3:]])))


# A role is compiled if it has an entry here. Those that come by themselves (`COMES_WITH`) have no
# server on one machine, so no job there.
_VARIABLES: dict[str, Callable[[ClusterSpec, Server, Path], dict[str, Variable]]] = {
    "call-manager": _call_manager,
    "media": _media,
    "ivr": _ivr,
    "database": lambda spec, _, __: {"port": spec.network.ports.database},
    "live": lambda spec, _, __: {"port": spec.network.ports.live},
}


def _documents(spec: ClusterSpec) -> dict[str, bytes]:
    documents: dict[str, object] = {"cluster": _cluster(spec), "routes": list(spec.routes)}
    for trunk in spec.trunks.values():
        documents[f"trunks/{trunk.name}"] = _trunk(trunk)
    for tenant in spec.tenants:
        documents[f"tenants/{tenant.name}"] = _tenant(tenant)
        for name, menu in tenant.menus.items():
            documents[f"menus/{tenant.name}/{name}"] = menu
        for name, hours in tenant.hours.items():
            documents[f"hours/{tenant.name}/{name}"] = hours
        numbers = sorted(tenant.numbers.items())
        for chunk, start in enumerate(range(0, len(numbers), NUMBERS_A_DOCUMENT)):
            part = dict(numbers[start : start + NUMBERS_A_DOCUMENT])
            documents[f"numbers/{tenant.name}/{chunk}"] = part
    return {key: configuration.encode(documents[key]) for key in sorted(documents)}


def _cluster(spec: ClusterSpec) -> Cluster:
    smtp = spec.alerts.smtp
    return Cluster(
        name=spec.cluster,
        max_calls=spec.max_calls,
        security=spec.security,
        recording=spec.recording,
        alerts=Alerts(
            email=spec.alerts.email,
            sender=spec.alerts.sender,
            well_for=spec.alerts.well_for,
            trunks_after=spec.alerts.trunks_after,
            smtp_host=smtp.host if smtp else "",
            smtp_port=smtp.port if smtp else 587,
            smtp_encryption=smtp.encryption if smtp else "starttls",
            smtp_username=smtp.username if smtp else "",
            smtp_password=SecretRef(secret=SMTP_PASSWORD) if smtp and smtp.password else None,
            smtp_ca=smtp.ca if smtp else "",
        ),
    )


def _trunk(trunk: Trunk) -> configuration.Trunk:
    register = None
    if trunk.register:
        register = TrunkRegistration(
            username=trunk.register.username,
            password=SecretRef(secret=trunk_password(trunk.name)),
            realm=trunk.register.realm,
            expires=trunk.register.expires,
        )
    return configuration.Trunk(
        name=trunk.name,
        host=trunk.peer.host,
        port=trunk.peer.port,
        transport=trunk.peer.transport,
        addresses=trunk.addresses,
        register=register,
        channels=trunk.channels,
        strip_plus=trunk.strip_plus,
        country=trunk.country,
        international=trunk.international,
        national=trunk.national,
        caller_id=trunk.caller_id,
        options_interval=trunk.options_interval,
        record=trunk.record,
    )


def _tenant(tenant: Tenant) -> configuration.Tenant:
    dialling = tenant.dialling
    return configuration.Tenant(
        name=tenant.name,
        domains=tenant.domains,
        language=tenant.language,
        main_number=tenant.main_number,
        plan=NumberPlan(
            country=dialling.country,
            international=dialling.international,
            national=dialling.national,
            outside=dialling.outside,
        ),
        max_calls=tenant.max_calls,
        ring_groups=tenant.ring_groups,
        menus={name: menu.direct for name, menu in tenant.menus.items()},
        emergency=tenant.emergency,
        record=tenant.record,
        voicemail=tenant.voicemail,
        prompts=tenant.prompts,
    )


def _directory(tenant: Tenant) -> Directory:
    users = tuple(sorted(tenant.users, key=lambda user: user.extension))
    return Directory(tenant=tenant.name, users=users, digest=_users_digest(users))


def _users_digest(users: Sequence[User]) -> str:
    """SHA-256 of ``configuration.encode(users)``, without holding a million users' JSON at once."""
    found = hashlib.sha256(b"[")
    for index, user in enumerate(users):
        found.update((b"," if index else b"") + configuration.encode(user))
    found.update(b"]")
    return found.hexdigest()


def _secrets(spec: ClusterSpec) -> dict[str, str]:
    secrets = {
        trunk_password(trunk.name): trunk.register.password.value
        for trunk in spec.trunks.values()
        if trunk.register
    }
    if spec.alerts.smtp and spec.alerts.smtp.password:
        secrets[SMTP_PASSWORD] = spec.alerts.smtp.password.value
    for tenant in spec.tenants:
        for name, value in tenant.authorizations.items():
            secrets[web_secret(tenant.name, name)] = value.value
    return dict(sorted(secrets.items()))
