"""Documents in the key-value store → one picture of the configuration, or none. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.call_manager.tables import Number, Picture
from services.core.assembly import gather, read, told
from services.core.configuration import Cluster, Destination, Manifest, Route, Tenant, Trunk


class Assembled(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest_digest`` is that of the manifest's bytes, empty where there is none.

    ``picture`` is None unless every document that the manifest names is there, is the one it names
    and can be read; ``problems`` then says what is not.
    """

    manifest_digest: str = ""
    manifest: Manifest | None = None
    picture: Picture | None = None
    problems: tuple[str, ...] = ()


def assemble(documents: Mapping[str, bytes]) -> Assembled:
    """``documents`` maps keys relative to ``config/`` to their bytes, the manifest among them."""
    whole = gather(documents)
    if whole.documents is None:
        return Assembled(
            manifest_digest=whole.manifest_digest, manifest=whole.manifest, problems=whole.problems
        )
    problems: list[str] = []
    picture = _picture(whole.documents, problems)
    return Assembled(
        manifest_digest=whole.manifest_digest,
        manifest=whole.manifest,
        picture=picture,
        problems=told(problems),
    )


def _picture(documents: Mapping[str, bytes], problems: list[str]) -> Picture | None:
    cluster: Cluster | None = None
    routes: tuple[Route, ...] = ()
    tenants: list[Tenant] = []
    trunks: list[Trunk] = []
    numbers: dict[str, Number] = {}
    for key, raw in sorted(documents.items()):
        match key.split("/"):
            case ["cluster"]:
                cluster = read(key, raw, Cluster, problems)
            case ["routes"]:
                routes = read(key, raw, tuple[Route, ...], problems) or ()
            case ["tenants", _]:
                if tenant := read(key, raw, Tenant, problems):
                    tenants.append(tenant)
            case ["trunks", _]:
                if trunk := read(key, raw, Trunk, problems):
                    trunks.append(trunk)
            case ["numbers", owner, _]:
                found = read(key, raw, dict[str, Destination], problems) or {}
                for number, destination in found.items():
                    numbers[number] = Number(tenant=owner, destination=destination)
            case _:
                pass  # another role's: newer releases write documents that this one does not read
    if cluster is None and not problems:
        problems.append("cluster: the manifest does not name it")
    if cluster is None or problems:
        return None
    return Picture(
        cluster=cluster,
        routes=routes,
        tenants=tuple(tenants),
        trunks=tuple(trunks),
        numbers=numbers,
    )
