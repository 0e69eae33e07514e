"""What programs take of memory: proportional set size, so that what they share counts once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.cluster.chaos.cluster import Cluster

PROGRAMS = {
    "Call Manager agents": b"services.call_manager\0agent",
    "Kamailio": b"kamailio\0-DD",
    "rtpengine": b"rtpengine\0",
    "media agent": b"services.media\0agent",
}
SHARE, ROOM = 1.2, 24.0
"""Growth is more than a fifth and 24 MiB a process more than before: caches fill."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    mebibytes: float
    processes: int


def memory(cluster: Cluster) -> dict[str, Use]:
    """By program, of all hosts together."""
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for host in [*cluster.managers, cluster.infra]:
        for pid in host.pids():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                name = next((n for n, words in PROGRAMS.items() if words in line), "")
                if name and not line.startswith(b"sh\0"):
                    found[name].append(_pss(Path(f"/proc/{pid}/smaps_rollup").read_text()))
            except OSError:
                continue  # it has ended
    return {
        name: Use(mebibytes=sum(sizes), processes=len(sizes))
        for name, sizes in found.items()
        if sizes
    }


def growth(before: Mapping[str, Use], after: Mapping[str, Use]) -> list[str]:
    """The programs that take more than they may."""
    return [
        f"{name}: {use.mebibytes:.0f} MiB, before {before[name].mebibytes:.0f}"
        for name, use in after.items()
        if name in before
        and use.mebibytes > before[name].mebibytes * SHARE
        and use.mebibytes - before[name].mebibytes > ROOM
    ]


def _pss(text: str) -> float:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
