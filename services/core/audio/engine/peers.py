"""Whose a datagram is: by the address that it came from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.audio.batch import ADDRESS

Keys = NDArray[np.uint64]
_V4 = np.dtype({"names": ["port", "host"], "formats": [">u2", ">u4"], "offsets": [2, 4],
                "itemsize": ADDRESS})  # fmt: skip
_V6 = np.dtype({"names": ["port", "high", "low"], "formats": [">u2", "u8", "u8"],
                "offsets": [2, 8, 16], "itemsize": ADDRESS})  # fmt: skip
_MIX = np.array((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F), np.uint64)


def keys_of(addresses: NDArray[np.uint8], wide: bool) -> Keys:
    """A number for each address and port; of IPv6 (``wide``) a mixture, for which see `Peers`."""
    if not wide:
        parts = addresses.view(_V4)[:, 0]
        return parts["host"].astype(np.uint64) << np.uint64(16) | parts["port"]
    parts = addresses.view(_V6)[:, 0]
    mixed = parts["high"] * _MIX[0] ^ (parts["low"] + np.uint64(1)) * _MIX[1]
    return (mixed ^ mixed >> np.uint64(29)) * _MIX[0] + parts["port"]


class Peers:
    """Rows by address. Only an announced address is known, and it has one row."""

    def __init__(self, wide: bool) -> None:
        self._wide = wide
        self._addresses: dict[int, bytes] = {}
        self._sorted: tuple[Keys, NDArray[np.int64], NDArray[np.uint8]] | None = None

    def set(self, row: int, address: bytes) -> None:
        """``address`` is the row's, and no other is; empty for none."""
        self._addresses.pop(row, None)
        if address:
            self._addresses[row] = address
        self._sorted = None

    def find(self, addresses: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The row of each address, -1 where there is none."""
        keys, rows, known = self._sorted or self._sort()
        if not len(rows):
            return np.full(len(addresses), -1, np.int64)
        wanted = keys_of(addresses, self._wide)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        same = keys[at] == wanted
        if self._wide:  # two addresses may mix to the same number
            same &= (known[at] == addresses[:, 2:24]).all(axis=1)
        return np.where(same, rows[at], -1)

    def _sort(self) -> tuple[Keys, NDArray[np.int64], NDArray[np.uint8]]:
        raw = np.frombuffer(b"".join(self._addresses.values()), np.uint8).reshape(-1, ADDRESS)
        rows = np.fromiter(self._addresses, np.int64, len(self._addresses))
        keys = keys_of(raw, self._wide)
        order = np.argsort(keys)
        self._sorted = keys[order], rows[order], raw[order, 2:24]
        return self._sorted


class Gate(NamedTuple):
    """A pair of sockets, and whose datagrams they take."""

    rtp: int
    rtcp: int
    peers: Peers
    control_peers: Peers
