"""Everything that one host is given, as files: pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from pbxctl.host_config import acl, consul, hcl, nomad, packages, script, sysctl, systemd, tls
from pbxctl.host_config.agent import Agent, Tls
from pbxctl.host_config.keys import MANAGERS_ONLY
from pbxctl.spec import ClusterSpec
from pbxctl.spec.model import COMES_WITH, Server

ROOT = "root"
"""Directory of what is copied to the host, laid out as there."""
TLS = PurePosixPath("/etc/pbx/tls")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """``secret`` ones are shown to nobody and readable by their owner alone."""

    text: str
    secret: bool = False
    executable: bool = False

    @property
    def mode(self) -> int:
        if self.executable:
            return 0o700 if self.secret else 0o755
        return 0o600 if self.secret else 0o644


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """All secret material that a host's files are made from; see `keys.KeyStore`."""

    services: Mapping[str, str]
    operator: Mapping[str, str]
    authority: tls.Pair
    host: tls.Pair

    def __repr__(self) -> str:
        return "Keys(***)"


def roles(spec: ClusterSpec, server: Server) -> tuple[str, ...]:
    """What the server does, what comes by itself included."""
    known = dict.fromkeys((*server.roles, *COMES_WITH))
    return tuple(role for role in known if server in spec.with_role(role))


def subject(spec: ClusterSpec, server: Server) -> tls.Subject:
    """Whom the host's certificate names."""
    return tls.Subject(
        name=server.name, addresses=(server.address,), server=server in managers(spec)
    )


def sip_names(spec: ClusterSpec) -> tuple[str, ...]:
    """What phones may call the PBX: the virtual addresses, domains, and each manager's address."""
    six = spec.network.vip6.partition("/")[0]
    domains = [domain for tenant in spec.tenants for domain in tenant.domains]
    addresses = [server.address for server in managers(spec)]
    return tuple(dict.fromkeys(filter(None, (spec.network.vip, six, *domains, *addresses))))


def managers(spec: ClusterSpec) -> tuple[Server, ...]:
    """The hosts that run Consul's and Nomad's servers: the call managers."""
    return spec.with_role("call-manager")


def files(spec: ClusterSpec, server: Server, keys: Keys, prefix: str) -> dict[str, File]:
    """Relative path → file. ``prefix``: where the product's programs go on the host."""
    has = roles(spec, server)
    found: dict[str, File] = {}

    def root(path: str | PurePosixPath, text: str, *, secret: bool = False) -> None:
        found[f"{ROOT}/{str(path).lstrip('/')}"] = File(text=text, secret=secret)

    consul_agent, nomad_agent = (_agent(spec, server, engine) for engine in ("consul", "nomad"))
    gossip = {engine: keys.operator[f"{engine}_gossip"] for engine in ("consul", "nomad")}
    root("/etc/consul.d/consul.hcl", _hcl(consul.configuration(consul_agent)))
    root(
        "/etc/consul.d/secrets.hcl",
        _hcl(
            consul.secrets(
                consul_agent,
                gossip=gossip["consul"],
                agent_token=keys.operator["consul_agent_token"],
                management_token=keys.operator["consul_management_token"],
            )
        ),
        secret=True,
    )
    interface = nomad.interface_of(server.address)
    root("/etc/nomad.d/nomad.hcl", _hcl(nomad.configuration(nomad_agent, interface=interface)))
    root(
        "/etc/nomad.d/secrets.hcl",
        _hcl(
            nomad.secrets(
                nomad_agent,
                gossip=gossip["nomad"],
                consul_token=keys.operator["nomad_consul_token"],
            )
        ),
        secret=True,
    )
    root(TLS / "ca.pem", _line(keys.authority.certificate))
    # Two copies: Consul's account reads only its own.
    for engine in ("consul", "nomad"):
        root(TLS / engine / "host.pem", _line(keys.host.certificate))
        root(TLS / engine / "host.key", _line(keys.host.key), secret=True)
    root("/etc/systemd/system/consul.service", systemd.CONSUL)
    root("/etc/systemd/system/nomad.service", systemd.NOMAD)
    ports = (spec.network.media_from, spec.network.media_to)
    root("/etc/sysctl.d/60-pbx.conf", sysctl.settings(has, ports))
    state = PurePosixPath(spec.install.state) / spec.cluster
    for name, value in keys.services.items():
        if name in MANAGERS_ONLY and server not in managers(spec):
            continue
        root(state / "secrets" / name, f"{value}\n", secret=True)
    found["packages.txt"] = File(text="".join(f"{one}\n" for one in packages.packages(has)))
    found["install"] = File(
        text=script.install(
            server.name,
            packages=packages.packages(has),
            masked=packages.masked(has),
            secret=[path for path, file in found.items() if file.secret],
            state=str(state),
        ),
        executable=True,
    )
    first = server == managers(spec)[0]
    if first:
        found["bootstrap"] = File(
            text=acl.bootstrap(
                spec.cluster,
                {
                    "agent": keys.operator["consul_agent_token"],
                    "nomad": keys.operator["nomad_consul_token"],
                    "services": keys.services["consul_token"],
                },
                {
                    "consul": keys.operator["consul_management_token"],
                    "nomad": keys.operator["nomad_management_token"],
                },
            ),
            secret=True,
            executable=True,
        )
    found["README"] = File(
        text=script.readme(
            spec.cluster,
            server.name,
            roles=has,
            first=first,
            prefix=prefix,
        )
    )
    return dict(sorted(found.items()))


def _agent(spec: ClusterSpec, server: Server, engine: str) -> Agent:
    directory = Path(TLS) / engine
    return Agent(
        name=server.name,
        address=server.address,
        server=server in managers(spec),
        peers=tuple(each.address for each in managers(spec)),
        data=Path("/var/lib") / engine,
        tls=Tls(
            ca=Path(TLS) / "ca.pem", certificate=directory / "host.pem", key=directory / "host.key"
        ),
        acl=True,
    )


def _hcl(body: Mapping[str, hcl.Value]) -> str:
    return "# Written by pbxctl host-config: change the spec and run it again.\n" + hcl.render(body)


def _line(text: str) -> str:
    return text.rstrip("\n") + "\n"
