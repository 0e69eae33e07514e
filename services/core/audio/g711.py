"""G.711 both ways, by table (ITU-T G.711), 16-bit linear samples on the other side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
Codes = NDArray[np.uint8]


def _ulaw() -> Samples:
    """G.711 table 2: bias 33, in 14-bit steps, brought to 16 bits."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = ((mantissa << 3) + 0x84 << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw() -> Samples:
    """G.711 table 1: even bits inverted, in 13-bit steps, brought to 16 bits."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = np.where(
        exponent, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0), (mantissa << 4) + 8
    )
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


ULAW = _ulaw()
"""The 16-bit value of each µ-law code."""
ALAW = _alaw()
"""The 16-bit value of each A-law code."""


def _encoding(table: Samples) -> Codes:
    """The code of each 16-bit value by the nearest in ``table``, indexed by its unsigned view."""
    order = np.argsort(table, kind="stable")
    levels = table[order].astype(np.int32)
    values = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    right = np.clip(np.searchsorted(levels, values), 1, 255)
    nearer = np.where(values - levels[right - 1] <= levels[right] - values, right - 1, right)
    return order[nearer].astype(np.uint8)


ULAW_CODES = _encoding(ULAW)
"""The µ-law code of each sample, indexed by ``samples.view(np.uint16)``."""
ALAW_CODES = _encoding(ALAW)
"""The A-law code of each sample, indexed by ``samples.view(np.uint16)``."""

SILENCE = {"PCMU": int(ULAW_CODES[0]), "PCMA": int(ALAW_CODES[0])}
"""The code of silence."""

_TABLES = {"PCMU": (ULAW, ULAW_CODES), "PCMA": (ALAW, ALAW_CODES)}


def decode(codes: Codes, law: str) -> Samples:
    """The samples of ``codes``; ``law`` is ``PCMU`` or ``PCMA``, with ``/8000`` or without."""
    return _TABLES[law.removesuffix("/8000")][0][codes]


def encode(samples: Samples, law: str) -> Codes:
    """The codes of ``samples``, each the nearest there is; ``law`` as for `decode`."""
    return _TABLES[law.removesuffix("/8000")][1][samples.view(np.uint16)]
