"""What people read of a live-state server, and what Redis is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.settings import SettingsError
from services.core.vip import holder_of
from services.live.client import read_replication
from services.live.following import Seen
from services.live.redis import configuration, password
from services.live.settings import LiveSettings
from services.live.status import LATE, State, health


def state(seen: Seen, **more: object) -> State:
    made = State(expected=2, seen=seen, checked=100.0, memory=12_000_000, holder="cm1", failure="")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_primary() -> None:
    found = health(state(Seen(replicas=2), took=0.0004), 101)
    assert found.status == "passing"
    assert found.output == "primary, key written in 0.4 ms, 2 replicas, 12 MB"


def test_primary_without_a_replica_or_a_disk() -> None:
    found = health(state(Seen(replicas=1), unsaved="the disk is full"), 101)
    assert found.status == "warning"
    assert found.problems == ["the disk is full", "1 of 2 replicas away"]


def test_replica() -> None:
    found = health(state(Seen(follows="10.20.0.11", link=True)), 101)
    assert (found.status, found.output) == ("passing", "replica of cm1, 12 MB")


def test_old_checks_count_no_more() -> None:
    silent = state(Seen(replicas=2), failure="Redis: gone")
    found = health(silent, 101 + LATE)
    assert (found.status, found.output) == ("critical", "Redis: gone")


def test_what_redis_says_of_itself() -> None:
    assert read_replication({"role": "master", "connected_slaves": 2}) == Seen(replicas=2)
    replica = {
        "role": "slave",
        "master_host": "10.20.0.11",
        "master_link_status": "down",
        "connected_slaves": "0",
    }
    assert read_replication(replica) == Seen(follows="10.20.0.11")


def settings(directory: Path) -> LiveSettings:
    return LiveSettings(
        cluster="acme",
        server="cm1",
        release="1",
        registry="",
        address="10.20.0.11",
        vip="10.20.0.10",
        vip6="fd00::10/64",
        data_dir=directory,
        run_dir=directory,
        secrets_dir=directory,
    )


def test_configuration_file(tmp_path: Path) -> None:
    lines = configuration(settings(tmp_path), 'a "quoted" \\ pass\nword ü').splitlines()
    assert "bind 10.20.0.11 10.20.0.10 fd00::10" in lines
    assert "appendonly yes" in lines
    quoted = '"a \\x22quoted\\x22 \\x5c pass\\x0aword \\xc3\\xbc"'
    assert f"requirepass {quoted}" in lines
    assert f"masterauth {quoted}" in lines


def test_an_absent_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"live_password: .*/live_password: No such"):
        password(settings(tmp_path))


@pytest.mark.parametrize(
    ("value", "holder"),
    [
        (b'{"member":"call-manager/cm2","epoch":"e","released":false,"successor":""}', "cm2"),
        (b"", ""),
        (b"cm2", ""),
        (b'{"epoch":"e"}', ""),
    ],
)
def test_who_holds_the_vip(value: bytes, holder: str) -> None:
    assert holder_of(value) == holder
