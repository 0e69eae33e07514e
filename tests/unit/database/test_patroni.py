"""What Patroni is told, and what it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.core import account
from services.core.settings import SettingsError, from_environment
from services.database import patroni
from services.database.placement import Member
from services.database.rest import differs, members
from services.database.settings import DatabaseSettings

META = {
    "CLUSTER": "acme",
    "SERVER": "cm2",
    "RELEASE": "1",
    "REGISTRY": "http://127.0.0.1:8500",
    "ADDRESS": "10.20.0.12",
    "DATA_DIR": "/state/database",
    "MANAGERS": "cm1=10.20.0.11,cm2=10.20.0.12,cm3=fd00::13",
    "VIP": "10.20.0.10",
    "VIP6": "fd00::10/64",
}


def settings(secrets: Path, **changes: str) -> DatabaseSettings:
    meta = META | {"SECRETS_DIR": str(secrets)} | changes
    given = {f"NOMAD_META_{name}": value for name, value in meta.items()}
    return from_environment(DatabaseSettings, given | {"NOMAD_ALLOC_DIR": "/run/x"})


def with_secrets(directory: Path) -> DatabaseSettings:
    (directory / "cluster_key").write_text("5e" * 32)
    for name in patroni.SECRETS:
        (directory / name).write_text(f"the {name}\n")
    return settings(directory)


def configured(directory: Path) -> Any:
    given = with_secrets(directory)
    text = msgspec.json.encode(patroni.configuration(given, patroni.secrets(given)))
    return msgspec.json.decode(text)


def test_an_absent_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"database_password: .*/database_password: No such"):
        patroni.secrets(settings(tmp_path))
    given = with_secrets(tmp_path)
    (tmp_path / "database_replication_password").write_text("\n")
    with pytest.raises(SettingsError, match=r"database_replication_password: .* is empty"):
        patroni.secrets(given)


def test_only_the_clusters_hosts_come_in(tmp_path: Path) -> None:
    lines = configured(tmp_path)["postgresql"]["pg_hba"]
    assert all(line.endswith(" scram-sha-256") for line in lines)
    networks = {line.split()[3] for line in lines}
    cluster = {"10.20.0.11/32", "10.20.0.12/32", "fd00::13/128", "10.20.0.10/32", "fd00::10/128"}
    assert networks == cluster | {"127.0.0.1/32", "::1/128"}


def test_patroni_is_tuned_as_measured(tmp_path: Path) -> None:
    found = configured(tmp_path)
    assert found["consul"]["checks"] == ["serfHealth"]
    assert "token" not in found["consul"]
    told = found["bootstrap"]["dcs"]
    assert (told["ttl"], told["loop_wait"], told["retry_timeout"]) == (20, 1, 8)
    assert (told["synchronous_mode"], told["synchronous_node_count"]) == (True, 2)
    assert told["postgresql"]["parameters"]["wal_sender_timeout"] == 1000


def test_registry_token_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "consul_token").write_text("t-0-ken\n")
    assert configured(tmp_path)["consul"]["token"] == "t-0-ken"


def test_rest_password_is_no_secret_of_its_own_and_hard_to_guess(tmp_path: Path) -> None:
    found = configured(tmp_path)["restapi"]["authentication"]["password"]
    assert len(found) == 64
    (tmp_path / "cluster_key").write_text("5f" * 32)
    assert settings(tmp_path).rest_password() != found


def test_a_closed_directory_is_named(tmp_path: Path) -> None:
    # A path of root's own under test: whoever runs this, the account is another's.
    owner = account.account("postgres", "postgresql-15")
    if os.getuid() != 0:
        return
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SettingsError, match=r"chmod o\+x"):
        account.own_directory(closed / "patroni", owner)


CLUSTER = b"""{"members": [
 {"name": "cm1", "role": "leader", "state": "running", "timeline": 4, "api_url": "http://x"},
 {"name": "cm2", "role": "sync_standby", "state": "running", "timeline": 4, "lag": 0},
 {"name": "cm3", "role": "replica", "state": "starting", "lag": "unknown"}], "pause": true}"""


def test_members_are_read() -> None:
    found = members(CLUSTER)
    assert found.busy
    assert found.leader == Member(name="cm1", role="leader", state="running", timeline=4)
    assert found.member("cm3") == Member(name="cm3", role="replica", state="starting")
    with pytest.raises(msgspec.DecodeError):
        members(b'{"members": 3}')


def test_only_what_differs_is_patched() -> None:
    wanted = {"ttl": 20, "postgresql": {"parameters": {"a": 1, "b": 2}}}
    found = {"ttl": 20, "other": 1, "postgresql": {"parameters": {"a": 1, "b": 3, "c": 4}}}
    assert differs(wanted, found) == {"postgresql": {"parameters": {"b": 2}}}
    assert differs(wanted, wanted) == {}
    assert differs(wanted, {}) == wanted
