"""From plain values to a `Draft`. Values are of the schema's types here; parts may be missing."""

from __future__ import annotations

import ssl
from typing import Any

from pbxctl.spec import secrets
from pbxctl.spec.draft import Draft, Inputs, Missing, Names, Report, attempt, items, kept
from pbxctl.spec.formats import interface, sip_uri
from pbxctl.spec.model import (
    Alerts,
    Capacity,
    Install,
    Network,
    Ports,
    Registration,
    Server,
    Smtp,
    Trunk,
)
from pbxctl.spec.problems import Path, printable
from pbxctl.spec.tenants import read_tenant
from pbxctl.spec.tree import Node
from pbxctl.spec.units import days, mebibytes, seconds
from services.core.configuration import (
    FailedAuth,
    RateLimit,
    Recording,
    Route,
    RouteTrunk,
    Security,
)

Values = dict[str, Any]

SMTPS = 465
"""The port of mail over TLS from the first byte (RFC 8314)."""
MAX_PEM = 65_536


def build(values: Values, names: Names, inputs: Inputs, report: Report, *, complete: bool) -> Draft:
    """The draft of a spec whose broken parts are pruned. Secrets and users' files are read."""
    servers = [
        (index, server)
        for index, raw in items(values.get("servers"))
        if (server := attempt(lambda raw=raw: _server(raw))) is not None
    ]
    trunks: dict[str, Trunk] = {}
    for name, raw in values.get("trunks", {}).items():
        path: Path = ("trunks", name)
        trunk = attempt(lambda raw=raw, n=name, p=path: _trunk(n, raw, p, inputs, report))
        if trunk is not None:
            trunks[name] = trunk
    routes = [
        (index, route)
        for index, raw in items(values.get("routes"))
        if (route := attempt(lambda raw=raw: _route(raw))) is not None
    ]
    tenants: list[Any] = []
    sources: dict[int, Any] = {}
    mentions: dict[int, Any] = {}
    for index, raw in items(values.get("tenants")):
        found = attempt(lambda raw=raw, i=index: read_tenant(raw, ("tenants", i), inputs, report))
        if found is not None:
            tenants.append((index, found[0]))
            sources[index], mentions[index] = found[1:]
    network = values.get("network", {})
    return Draft(
        cluster=values.get("cluster", ""),
        engine=names.engine,
        release=values.get("release", ""),
        install=Install(**values.get("install", {})),
        max_calls=values.get("max_calls", 0),
        network=_network(network),
        servers=servers,
        trunks=trunks,
        routes=routes,
        security=_security(values.get("security", {})),
        recording=_recording(values.get("recording", {})),
        alerts=_alerts(values.get("alerts", {}), inputs, report),
        tenants=tenants,
        sources=sources,
        mentions=mentions,
        names=names,
        complete=complete,
    )


def names_of(root: Node) -> Names:
    """The names that a spec gives, right or wrong, from the tree as it was written."""
    engine = root.child("engine")
    names = Names(
        engine="nomad" if engine is not None and engine.raw == "nomad" else "local",
        trunks=set(),
        tenants=set(),
        extensions={},
        ring_groups={},
        menus={},
        hours={},
    )
    trunks = root.child("trunks")
    names.trunks.update(trunks.mapping or () if trunks else ())
    tenants = root.child("tenants")
    for index, tenant in enumerate((tenants.sequence if tenants else None) or ()):
        if (name := tenant.child("name")) is not None:
            names.tenants.add(name.raw)
        for part in ("ring_groups", "menus", "hours"):
            found = tenant.child(part)
            getattr(names, part)[index] = set(found.mapping or () if found else ())
        users = tenant.child("users")
        listed = (users.sequence if users else None) or ()
        extensions = [user.child("extension") for user in listed]
        names.extensions[index] = {e.raw for e in extensions if e is not None}
    return names


def _server(raw: Values) -> Server:
    capacity = raw.get("capacity", {})
    roles = kept(raw["roles"])
    if not roles:
        raise Missing
    return Server(
        name=raw["name"],
        address=raw["address"],
        roles=roles,
        media_address=raw.get("media_address", "") or raw["address"],
        capacity=Capacity(
            calls=capacity.get("calls", 0),
            workers=capacity.get("workers", 4),
            shared_memory=mebibytes(capacity.get("shared_memory", "512MiB")),
        ),
    )


def _network(raw: Values) -> Network:
    media = raw.get("media", {})
    vip = interface(raw["vip"]) if raw.get("vip") else None
    vip6 = interface(raw["vip6"]) if raw.get("vip6") else None
    given = vip is not None and "/" in raw["vip"]
    return Network(
        vip=str(vip.ip) if vip else "",
        vip_prefix=vip.network.prefixlen if vip is not None and given else 0,
        vip6="" if vip6 is None else str(vip6) if "/" in raw["vip6"] else str(vip6.ip),
        public_address=raw.get("public_address", ""),
        media_addresses=kept(raw.get("media_addresses")),
        media_from=media.get("from", 20000),
        media_to=media.get("to", 59999),
        ports=Ports(**raw.get("ports", {})),
    )


def _trunk(name: str, raw: Values, path: Path, inputs: Inputs, report: Report) -> Trunk:
    register = None
    if "register" in raw:
        register = attempt(
            lambda: _registration(raw["register"], (*path, "register"), inputs, report)
        )
    return Trunk(
        name=name,
        peer=sip_uri(raw["peer"]),
        addresses=kept(raw.get("addresses")),
        register=register,
        channels=raw.get("channels", 0),
        caller_id=raw.get("caller_id", ""),
        strip_plus=raw.get("strip_plus", False),
        country=raw.get("country", ""),
        international=raw.get("international", "00"),
        national=raw.get("national", "0"),
        options_interval=seconds(raw.get("options_interval", "30s")),
        record=raw.get("record", False),
    )


def _registration(raw: Values, path: Path, inputs: Inputs, report: Report) -> Registration:
    return Registration(
        username=raw["username"],
        password=secrets.resolve(raw["password"], (*path, "password"), inputs, report),
        realm=raw.get("realm", ""),
        expires=seconds(raw.get("expires", "600s")),
    )


def _route(raw: Values) -> Route:
    trunks = tuple(
        RouteTrunk(trunk=trunk)
        if isinstance(trunk, str)
        else RouteTrunk(trunk=trunk["name"], cost=float(trunk.get("cost", 0)))
        for trunk in kept(raw["trunks"])
    )
    return Route(
        name=raw["name"],
        match=kept(raw["match"]),
        trunks=trunks,
        always=raw.get("always", False),
        tenants=kept(raw.get("tenants")),
        strip=raw.get("strip", 0),
        prepend=raw.get("prepend", ""),
    )


def _security(raw: Values) -> Security:
    failed, rate = raw.get("failed_auth", {}), raw.get("rate", {})
    defaults = Security()
    return Security(
        digest=kept(raw.get("digest")) or defaults.digest,
        failed_auth=FailedAuth(
            limit=failed.get("limit", 10),
            window=seconds(failed.get("window", "60s")),
            ban=seconds(failed.get("ban", "600s")),
        ),
        rate=RateLimit(**rate),
        trusted=kept(raw.get("trusted")),
        max_message=raw.get("max_message", 65535),
        max_contacts=raw.get("max_contacts", 10),
    )


def _recording(raw: Values) -> Recording:
    return Recording(
        keep=days(raw.get("keep", "90d")), min_free=mebibytes(raw.get("min_free", "1GiB"))
    )


def _alerts(raw: Values, inputs: Inputs, report: Report) -> Alerts:
    smtp = None
    if "smtp" in raw:
        smtp = attempt(lambda: _smtp(raw["smtp"], inputs, report))
    return Alerts(
        email=kept(raw.get("email")),
        sender=raw.get("from", ""),
        well_for=seconds(raw.get("well_for", "30s")),
        trunks_after=seconds(raw.get("trunks_after", "5m")),
        smtp=smtp,
    )


def _smtp(raw: Values, inputs: Inputs, report: Report) -> Smtp:
    password = None
    if "password" in raw:
        password = secrets.resolve(raw["password"], ("alerts", "smtp", "password"), inputs, report)
    port = raw.get("port", 587)
    return Smtp(
        host=raw["host"],
        port=port,
        encryption=raw.get("encryption", "tls" if port == SMTPS else "starttls"),
        username=raw.get("username", ""),
        password=password,
        ca=_authority(raw["ca"], ("alerts", "smtp", "ca"), inputs, report) if "ca" in raw else "",
    )


def _authority(name: str, path: Path, inputs: Inputs, report: Report) -> str:
    """PEM of an authority. Reports and raises Missing."""
    try:
        with (inputs.directory / name).open("rb") as stream:
            data = stream.read(MAX_PEM + 1)
        ssl.create_default_context().load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError):
        reason = "it has no certificate in PEM"
    except OSError as error:
        reason = error.strerror
    else:
        return data.decode("ascii")
    report.add(path, f"cannot read {printable(name)}: {reason}")
    raise Missing
