"""Commands that need no running PBX, run as an operator runs them: exit status, both streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pbxctl import __version__
from pbxctl.__main__ import run, telling
from pbxctl.admin_client import AdminError
from pbxctl.commands.cli import COMMANDS

SPEC = """\
cluster: acme
servers:
  - {name: pbx1, address: 127.0.0.1, roles: [call-manager, media], capacity: {calls: 50}}
network: {vip: 127.0.0.1}
trunks:
  carrier:
    peer: "sip:127.0.0.1:5080"
    register: {username: acme, password: {env: CARRIER_PASSWORD}}
tenants:
  - name: sales
    domains: [sales.example]
    users:
      - {extension: "2001", name: Anna, password: {env: ANNA_PASSWORD}}
"""
SECRETS = {"CARRIER_PASSWORD": "carrier-swordfish", "ANNA_PASSWORD": "anna-swordfish"}


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Pbxctl = Callable[..., Ran]


@pytest.fixture
def pbxctl(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Pbxctl:
    monkeypatch.setenv("PBX_STATE_DIR", str(tmp_path / "state"))
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme.yaml").write_text(SPEC)

    def call(*arguments: str) -> Ran:
        status = run(list(arguments))
        captured = capfd.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


def test_version(pbxctl: Pbxctl) -> None:
    assert pbxctl("version").out == f"pbxctl {__version__}\n"
    assert json.loads(pbxctl("version", "--json").out)["version"] == __version__


def test_help_lists_every_command_and_each_has_help(pbxctl: Pbxctl) -> None:
    text = pbxctl("--help").out
    for name in COMMANDS:
        assert name in text
        assert "Usage: pbxctl" in pbxctl(name, "--help").out


def test_usage_errors_say_what_was_meant(pbxctl: Pbxctl) -> None:
    assert pbxctl().status == 2
    wrong = pbxctl("valdate")
    assert wrong.status == 2
    assert "did you mean validate?" in wrong.err
    missing = pbxctl("validate", "--json")
    assert missing.status == 2
    assert "Missing argument" in json.loads(missing.err)["error"]["message"]


def test_init_writes_a_valid_spec_and_never_overwrites(pbxctl: Pbxctl, tmp_path: Path) -> None:
    assert pbxctl("init", "--cluster", "shop", "--domain", "shop.example").status == 0
    again = pbxctl("init")
    assert again.status == 1
    assert "pbx.yaml is there already" in again.err
    assert "cluster: shop" in (tmp_path / "pbx.yaml").read_text()
    valid = pbxctl("validate", "pbx.yaml")
    assert valid.status == 0, valid.err
    assert "pbx.yaml is valid: shop, 2 jobs, 1 tenant, 0 users" in valid.out


def test_init_refuses_what_would_not_be_valid(pbxctl: Pbxctl) -> None:
    assert "expected an IP address" in pbxctl("init", "--address", "pbx").err
    assert "lower-case" in pbxctl("init", "--cluster", "Shop Floor").err
    assert "make it first" in pbxctl("init", "nowhere/pbx.yaml").err


def test_validate(pbxctl: Pbxctl) -> None:
    good = json.loads(pbxctl("validate", "acme.yaml", "--json").out)
    assert good["valid"]
    assert good["jobs"] == ["acme-call-manager-pbx1", "acme-media-pbx1"]
    assert good["users"] == 1


def test_problems_have_places_and_json_has_their_parts(pbxctl: Pbxctl, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(SPEC.replace("cluster: acme", "clutser: acme"))
    bad = pbxctl("validate", "bad.yaml")
    assert bad.status == 1
    assert 'bad.yaml:1:1: clutser: "clutser" is not known here; did you mean "cluster"?' in bad.err
    assert "2 problems; nothing was changed" in bad.err
    error = json.loads(pbxctl("validate", "bad.yaml", "--json").err)["error"]
    assert {problem["line"] for problem in error["problems"]} == {1}


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_a_spec_that_is_not_there(pbxctl: Pbxctl, command: str) -> None:
    found = pbxctl(command, "nowhere.yaml")
    assert found.status == 1
    assert "nowhere.yaml" in found.err
    assert "Traceback" not in found.err


def test_compile_writes_no_secret(pbxctl: Pbxctl, tmp_path: Path) -> None:
    done = pbxctl("compile", "acme.yaml", "--out", "out")
    assert done.status == 0, done.err
    files = {
        str(path.relative_to(tmp_path / "out")): path.read_text()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert 'server = "pbx1"' in files["jobs/acme-media-pbx1.vars"]
    assert json.loads(files["config/manifest.json"])["documents"].keys() == {
        "cluster",
        "routes",
        "tenants/sales",
        "trunks/carrier",
    }
    assert files["secrets.txt"] == "trunk.carrier.password\n"
    whole = "".join(files.values()) + done.out + done.err
    assert "swordfish" not in whole
    assert "ha1" not in whole
    again = pbxctl("compile", "acme.yaml", "--out", "out")
    assert again.status == 1
    assert "has files in it" in again.err


def test_schema_is_json(pbxctl: Pbxctl) -> None:
    assert json.loads(pbxctl("schema").out)["$schema"].endswith("2020-12/schema")


def test_which_cluster(pbxctl: Pbxctl, tmp_path: Path) -> None:
    none = pbxctl("status")
    assert none.status == 1
    assert "run pbxctl apply SPEC first" in none.err
    for name in ("a", "b"):
        (tmp_path / "state" / name / "secrets").mkdir(parents=True)
    several = pbxctl("status")
    assert several.err.splitlines()[:2] == ["  a", "  b"]
    assert "say which with --cluster" in several.err
    assert json.loads(pbxctl("calls", "--json").err)["error"]["clusters"] == ["a", "b"]
    assert "there is a, b" in pbxctl("logs", "x", "--cluster", "c").err


def test_a_defect_is_one_line_and_a_file(
    pbxctl: Pbxctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("pbxctl.spec.schema", broken)
    found = pbxctl("schema")
    assert found.status == 70
    assert found.err.startswith("a defect in pbxctl: ZeroDivisionError: deep inside")
    assert found.err.count("\n") == 1
    (file,) = (tmp_path / "state" / "defects").iterdir()
    assert str(file) in found.err
    assert "Traceback" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    error = json.loads(pbxctl("schema", "--json").err)["error"]
    assert Path(error["details_file"]).parent == file.parent


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m pbxctl schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout == "{"
    assert done.returncode in (0, 141)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(pbxctl: Pbxctl, shell: str) -> None:
    script = pbxctl("completion", shell)
    assert script.status == 0
    assert "_PBXCTL_COMPLETE" in script.out


def test_completion_works_in_bash(tmp_path: Path) -> None:
    program = tmp_path / "pbxctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pbxctl "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(pbxctl completion bash)"
        COMP_WORDS=(pbxctl reg); COMP_CWORD=1; COMPREPLY=(); _pbxctl_completion pbxctl
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(pbxctl apply --auto); COMP_CWORD=2; COMPREPLY=(); _pbxctl_completion pbxctl
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(pbxctl users imp); COMP_CWORD=2; COMPREPLY=(); _pbxctl_completion pbxctl
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(pbxctl calls --cluster ac); COMP_CWORD=3; COMPREPLY=()
        _pbxctl_completion pbxctl
        echo "${COMPREPLY[@]}"
    """
    (tmp_path / "state" / "acme" / "secrets").mkdir(parents=True)
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PBX_STATE_DIR": str(tmp_path / "state"),
        },
    )
    assert done.stdout.split() == ["registrations", "--auto-approve", "import", "acme"]


def test_of_several_failures_the_one_that_says_most() -> None:
    known, other = AdminError("refused"), ZeroDivisionError()
    assert telling(ExceptionGroup("", [ExceptionGroup("", [known])])) is known
    assert telling(ExceptionGroup("", [known, AdminError("x")])) is known
    both = ExceptionGroup("", [known, other])
    assert telling(both) is both
    stopped = KeyboardInterrupt()
    assert telling(BaseExceptionGroup("", [other, stopped])) is stopped


MENU = """\
    menus:
      welcome:
        extension: "800"
        prompt: "Press one."
        keys: {"1": {extension: "2001"}}
        timeout: {retries: 0, then: {hang_up: "Goodbye."}}
"""


def with_menu(directory: Path) -> str:
    text = (directory / "acme.yaml").read_text()
    (directory / "menu.yaml").write_text(
        text.replace("roles: [call-manager, media]", "roles: [call-manager, media, ivr]") + MENU
    )
    return str(directory / "menu.yaml")


def test_a_menu_is_walked_through(pbxctl: Pbxctl, tmp_path: Path) -> None:
    spec = with_menu(tmp_path)
    ran = pbxctl("ivr", "simulate", spec, "welcome", "--do", "1", "--do", "answer")
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[0] == "0:00  « [en] Press one."
    assert "connect extension 2001" in ran.out
    assert ran.out.splitlines()[-1] == "over: caller"
    told = json.loads(pbxctl("ivr", "simulate", spec, "welcome", "--json", "--do", "-").out)
    assert [turn["what"] for turn in told["turns"]] == ["heard", "heard", "hang-up"]
    assert told["over"] == "end"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["welcom"], "no menu is named 'welcom'; did you mean \"welcome\"?"),
        (["welcome", "--tenant", "sale"], "no tenant is named 'sale'; did you mean \"sales\"?"),
        (["welcome", "--do", "x"], '"x": expected keys'),
        (["welcome", "--do", "-", "--do", "1"], 'the call is over, and "1" is left to do'),
    ],
)
def test_a_walk_that_cannot_be(
    pbxctl: Pbxctl, tmp_path: Path, arguments: list[str], said: str
) -> None:
    ran = pbxctl("ivr", "simulate", with_menu(tmp_path), *arguments)
    assert ran.status == 1
    assert said in ran.err
