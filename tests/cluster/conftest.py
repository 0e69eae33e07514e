"""Fixtures of tests on several hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.signalling import Signalling, signalling


@pytest.fixture(scope="module")
def signalling_cluster() -> Iterator[Signalling]:
    with signalling() as running:
        yield running


@pytest.fixture
def calls(signalling_cluster: Signalling) -> Iterator[Signalling]:
    """The cluster with all its hosts up; a Python error anywhere fails the test."""
    signalling_cluster.clear()
    yield signalling_cluster
    assert not signalling_cluster.failures()
