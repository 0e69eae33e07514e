"""`pbxctl host-config`, as an operator runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pbxctl.__main__ import run
from tests.unit.host_config.golden import SPEC


class Ran(NamedTuple):
    status: int
    out: str
    err: str


HostConfig = Callable[..., Ran]


@pytest.fixture
def host_config(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HostConfig:
    monkeypatch.setenv("PBX_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(SPEC, "acme.yaml")

    def call(server: str, *arguments: str, out: str = "out") -> Ran:
        status = run(["host-config", server, "acme.yaml", "--out", out, *arguments])
        captured = capfd.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


def tree(directory: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_a_second_run_writes_nothing(host_config: HostConfig, tmp_path: Path) -> None:
    first = host_config("cm1")
    assert first.status == 0, first.err
    assert "+ root/etc/consul.d/consul.hcl" in first.out
    assert "keys made below" in first.out
    before = tree(tmp_path)
    second = host_config("cm1")
    assert second.out == "out: nothing has changed, nothing was written\n"
    assert tree(tmp_path) == before


def test_all_servers_share_their_keys(host_config: HostConfig, tmp_path: Path) -> None:
    for server in ("cm1", "media1"):
        assert host_config(server, out=server).status == 0
    for path in ("etc/pbx/tls/ca.pem", "var/lib/pbx/acme/secrets/cluster_key"):
        assert (Path("cm1/root") / path).read_text() == (Path("media1/root") / path).read_text()
    assert (tmp_path / "state/acme/secrets/admin_token").stat().st_mode & 0o777 == 0o600


def test_a_changed_spec_says_what_changed(host_config: HostConfig) -> None:
    host_config("cm1")
    key = Path("out/root/etc/consul.d/secrets.hcl").read_text()
    spec = Path("acme.yaml")
    spec.write_text(spec.read_text().replace("10.20.0.13", "10.20.0.14"))
    changed = host_config("cm1")
    assert "~ root/etc/consul.d/consul.hcl" in changed.out
    assert '    +retry_join = ["10.20.0.11", "10.20.0.12", "10.20.0.14"]' in changed.out
    assert "key made" not in changed.out
    assert Path("out/root/etc/consul.d/secrets.hcl").read_text() == key


def test_secrets_are_never_shown(host_config: HostConfig) -> None:
    said = host_config("cm1").out
    key = Path("out/root/var/lib/pbx/acme/secrets/cluster_key")
    secret = key.read_text().strip()
    key.write_text("another\n")
    again = host_config("cm1")
    assert "~ root/var/lib/pbx/acme/secrets/cluster_key" in again.out
    assert key.read_text().strip() == secret
    assert secret not in said + again.out
    assert "another" not in again.out


def test_what_is_no_longer_needed_goes(host_config: HostConfig) -> None:
    host_config("cm1")
    spec = Path("acme.yaml")
    line, other = (line for line in spec.read_text().splitlines() if "cm1" in line or "cm2" in line)
    spec.write_text(spec.read_text().replace(f"{line}\n{other}", f"{other}\n{line}"))
    assert "- bootstrap" in host_config("cm1").out
    assert not Path("out/bootstrap").exists()


def test_json(host_config: HostConfig) -> None:
    said = json.loads(host_config("media1", "--json").out)
    assert said["server"] == "media1"
    assert {change["what"] for change in said["changes"]} == {"add"}
    assert all(path.startswith("/") for path in said["keys_made"])
    assert json.loads(host_config("media1", "--json").out)["changes"] == []


@pytest.mark.parametrize(
    ("server", "before", "message"),
    [
        ("cm9", lambda: None, "acme has no server cm9; its servers are cm1, cm2, cm3, media1"),
        (
            "cm1",
            lambda: (Path("out").mkdir(), Path("out/mine").touch()),
            "out has files in it that are not host-config's",
        ),
        (
            "cm1",
            lambda: (Path("state").mkdir(), Path("state/acme").touch()),
            "state/acme/keys/ca.key: Not a directory",
        ),
        (
            "cm1",
            lambda: Path("acme.yaml").write_text(SPEC.read_text().replace("nomad", "lokal")),
            "engine",
        ),
    ],
    ids=["no such server", "not ours", "state is a file", "bad spec"],
)
def test_errors_say_what_to_do_and_write_nothing(
    host_config: HostConfig, server: str, before: Callable[[], object], message: str
) -> None:
    before()
    found = host_config(server)
    assert found.status == 1
    assert message in found.err
    assert "Traceback" not in found.err
    assert not Path("out/README").exists()


def test_a_directory_belongs_to_one_server(host_config: HostConfig) -> None:
    host_config("cm1")
    other = host_config("cm2")
    assert other.status == 1
    assert "out is that of cm1 of acme; each server has its own" in other.err


def test_one_machine_needs_none(host_config: HostConfig) -> None:
    Path("acme.yaml").write_text(
        "cluster: acme\nengine: local\nnetwork: {vip: 127.0.0.1}\n"
        "servers:\n  - {name: pbx1, address: 127.0.0.1, roles: [call-manager, media]}\n"
        "tenants:\n  - {name: sales, domains: [sales.example]}\n"
    )
    found = host_config("pbx1")
    assert found.status == 1
    assert "it is for engine: nomad" in found.err
