"""The files of a host: golden ones, and what must hold for all."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import hcl2
import pytest

from pbxctl.host_config import hcl, packages
from tests.unit.host_config import golden


@pytest.mark.parametrize("server", golden.SERVERS)
def test_files_are_the_golden_ones(server: str) -> None:
    expected = (golden.GOLDEN / f"{server}.txt").read_text()
    assert golden.text(server) == expected, "python -m tests.unit.host_config.golden writes them"


@pytest.mark.parametrize("server", golden.SERVERS)
def test_secrets_are_in_secret_files_only(server: str) -> None:
    secrets = {*golden.KEYS.services.values(), *golden.KEYS.operator.values()}
    secrets |= {golden.KEYS.host.key, golden.KEYS.authority.key}
    for path, file in golden.files(server).items():
        held = {secret for secret in secrets if secret in file.text}
        assert not held or file.secret, path
        assert golden.KEYS.authority.key not in held


def test_only_managers_hold_the_databases_passwords_and_the_management_token() -> None:
    media = "".join(file.text for file in golden.files("media1").values())
    assert "<database" not in media
    assert "management_token>" not in media
    manager = "".join(file.text for file in golden.files("cm2").values())
    assert "<database_password>" in manager
    assert "<nomad_management_token>" not in manager
    assert "<nomad_management_token>" in golden.files("cm1")["bootstrap"].text


@pytest.mark.parametrize("server", golden.SERVERS)
def test_scripts_are_shell(server: str) -> None:
    scripts = [
        file for path, file in golden.files(server).items() if path in ("install", "bootstrap")
    ]
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script.text, text=True, check=True, timeout=20)
        assert script.mode & 0o100


def test_every_package_of_the_demonstration_is_some_roles() -> None:
    listed = (Path(__file__).parents[3] / "tools/packages.txt").read_text().splitlines()
    wanted = {line.partition("#")[0].strip() for line in listed} - {""}
    assert wanted <= set(packages.packages(packages.PACKAGES))


def test_hcl_is_what_hcl_readers_read() -> None:
    body: dict[str, hcl.Value] = {
        "text": 'say "hello"\\',
        "number": 3,
        "flag": False,
        "list": ("a", "b"),
        "plugin raw_exec": {"config": {"enabled": True}},
        "options": {"driver.allowlist": "raw_exec"},
    }
    read = hcl2.loads(hcl.render(body).replace('"driver.allowlist"', "driver"))
    assert read["number"] == 3
    assert read["flag"] is False
    assert [shlex.split(each)[0] for each in read["list"]] == ["a", "b"]
    assert read["plugin"][0]['"raw_exec"']["config"][0]["enabled"] is True
