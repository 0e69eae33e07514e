from __future__ import annotations

import warnings

import numpy as np
import pytest

from services.core.audio import g711

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

ALL = np.arange(256, dtype=np.uint8)
LINEAR = np.arange(65536, dtype=np.uint16).view(np.int16)


@pytest.mark.parametrize(
    ("law", "reference"), [("PCMU", audioop.ulaw2lin), ("PCMA", audioop.alaw2lin)]
)
def test_every_code_has_the_value_of_an_independent_decoder(law: str, reference) -> None:
    expected = np.frombuffer(reference(ALL.tobytes(), 2), np.int16)
    np.testing.assert_array_equal(g711.decode(ALL, law), expected)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_every_sample_gets_the_nearest_code(law: str) -> None:
    found = g711.decode(g711.encode(LINEAR, law), law).astype(np.int32)
    levels = np.unique(g711.decode(ALL, law)).astype(np.int32)
    error = np.abs(found - LINEAR)
    best = np.abs(levels[:, None] - LINEAR[None, :]).min(axis=0)
    np.testing.assert_array_equal(error, best)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_codes_survive_a_second_passage(law: str) -> None:
    once = g711.decode(ALL, law)
    np.testing.assert_array_equal(g711.decode(g711.encode(once, law), law), once)


def test_known_values_of_the_tables() -> None:
    assert [int(x) for x in g711.ULAW[[0x00, 0x80, 0xFF, 0x7F]]] == [-32124, 32124, 0, 0]
    assert [int(x) for x in g711.ALAW[[0x2A, 0xAA, 0x55, 0xD5]]] == [-32256, 32256, -8, 8]
