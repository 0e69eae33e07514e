"""When a Call Manager goes by an administrator's switch."""

from __future__ import annotations

import pytest

from pbxctl.admin_client import InForce, MediaInForce
from pbxctl.engines.engine import JobStatus
from pbxctl.registry_client import Service
from pbxctl.servers import roles_of
from pbxctl.switching import goes_by, let_go
from services.core.configuration import SwitchState


@pytest.mark.parametrize(
    ("shown", "state", "goes"),
    [
        ("up", "enabled", True),
        ("draining", "draining", True),
        ("up", "draining", False),
        ("draining", "enabled", False),
        ("draining", "disabled", False),
        ("down", "draining", True),
    ],
)
def test_media(shown: str, state: SwitchState, goes: bool) -> None:
    has = InForce(media=[MediaInForce(name="m1", state=shown)])
    assert goes_by(has, False, "m1", "media", state) is goes
    assert goes_by(has, False, "m2", "media", state)


def service(server: str, **meta: str) -> Service:
    return Service(
        id=f"a-media-{server}",
        role="media",
        server=server,
        release="1",
        status="passing",
        check="",
        admin="",
        capacity=1,
        meta=meta,
    )


@pytest.mark.parametrize(
    ("holders", "gone"),
    [
        ({"media/m1": "m1", "media/m2": "m2"}, False),
        ({"media/m1": "m2", "media/m2": "m2"}, True),
        ({"media/m1": "m2", "media/m2": "m1"}, False),
        ({"media/m2": "m2"}, False),
        ({"media/m1": "m2", "vip": "m1"}, True),
    ],
)
def test_a_server_has_let_go(holders: dict[str, str], gone: bool) -> None:
    media = [service("m1", home="m1"), service("m2", home="m2")]
    assert let_go("m1", media, holders) is gone


def test_what_does_not_float_is_not_let_go() -> None:
    assert not let_go("m1", [service("m1"), service("m2")], {})


def test_a_call_manager_s_own_switch() -> None:
    has = InForce(switch="enabled")
    assert not goes_by(has, True, "cm1", "call-manager", "draining")
    assert goes_by(has, False, "cm1", "call-manager", "draining")
    assert goes_by(InForce(), True, "cm1", "call-manager", "draining")


def status(role: str, server: str) -> JobStatus:
    return JobStatus(
        id=f"a-{role}-{server}",
        cluster="a",
        role=role,
        server=server,
        release="1",
        fingerprint="",
        state="running",
        tasks=(),
    )


def test_roles_of_a_server() -> None:
    jobs = [status(r, "cm1") for r in ("database", "live", "call-manager")]
    assert roles_of(jobs, "cm1", None) == ["call-manager", "database", "live"]
    assert roles_of(jobs, "cm1", "live") == ["live"]
    with pytest.raises(LookupError, match="no server is named cm9; the servers are cm1"):
        roles_of(jobs, "cm9", None)
    with pytest.raises(LookupError, match="cm1 has no role media; it has call-manager, database"):
        roles_of(jobs, "cm1", "media")
