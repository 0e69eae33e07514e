"""Documents in the key-value store → all that one manifest names, or nothing. Pure.

See `docs/decisions/0003-configuration-as-a-whole.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.core.configuration import Manifest, decode, digest

MANIFEST = "manifest"
SHOWN = 10
"""Problems that are told; a cluster's worth of missing documents is one fault, not thousands."""


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest_digest`` is that of the manifest's bytes, empty where there is none.

    ``documents`` is None unless every document that the manifest names is there and is the one it
    names; ``problems`` then says what is not.
    """

    manifest_digest: str = ""
    manifest: Manifest | None = None
    documents: Mapping[str, bytes] | None = None
    problems: tuple[str, ...] = ()


def gather(documents: Mapping[str, bytes]) -> Whole:
    """``documents`` maps keys relative to ``config/`` to their bytes, the manifest among them."""
    raw = documents.get(MANIFEST)
    if raw is None:
        return Whole(problems=("no configuration has been applied yet",))
    name = digest(raw)
    problems: list[str] = []
    manifest = read(MANIFEST, raw, Manifest, problems)
    if manifest is None:
        return Whole(manifest_digest=name, problems=tuple(problems))
    for key, wanted in sorted(manifest.documents.items()):
        found = documents.get(key)
        if found is None:
            problems.append(f"{key}: the manifest names it, and it is not there")
        elif digest(found) != wanted:
            problems.append(f"{key}: is not the version that the manifest names")
    named = None if problems else {key: documents[key] for key in manifest.documents}
    return Whole(manifest_digest=name, manifest=manifest, documents=named, problems=told(problems))


def told(problems: list[str]) -> tuple[str, ...]:
    """The first `SHOWN` of them, and how many more there are."""
    if len(problems) <= SHOWN:
        return tuple(problems)
    return (*problems[:SHOWN], f"and {len(problems) - SHOWN} more")


def read(key: str, raw: bytes, kind: Any, problems: list[str]) -> Any:
    """The document, or None and a problem that names its key."""
    try:
        return decode(raw, kind)
    except msgspec.DecodeError as error:
        problems.append(f"{key}: {error}")
        return None
