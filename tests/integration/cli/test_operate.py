"""Looking at a running PBX, and its users."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Operator


def test_status(running: Operator) -> None:
    text = running.ok("status")
    lines = text.splitlines()
    assert lines[0].startswith("it · 0 calls · 0 registered")
    assert lines[1].split() == ["SERVER", "ROLE", "STATE", "LOAD", "CHECK", "SINCE"]
    assert [line.split()[:3] for line in lines[2:4]] == [
        ["pbx1", "call-manager", "up"],
        ["m1", "media", "up"],
    ]
    report = running.json("status")
    assert report["healthy"]
    assert "\x1b" not in text


def test_nothing_is_up_yet(running: Operator) -> None:
    assert running.ok("calls") == "no calls are up\n"
    assert running.json("calls")["calls"] == []
    assert running.ok("registrations") == "no phone is registered\n"
    assert running.json("registrations", str(running.spec))["registrations"] == []


def test_logs(running: Operator) -> None:
    text = running.ok("logs", "pbx1")
    assert "==> it-call-manager-pbx1 agent <==" in text
    (only,) = running.json("logs", "it-media-m1", "agent", "-n", "3")
    assert only["task"] == "agent"
    assert len(only["lines"]) <= 3
    wrong = running.run("logs", "pbx9")
    assert wrong.returncode == 1
    assert "no server or job is named pbx9; there are" in wrong.stderr


def test_a_user_comes_gets_a_password_and_goes(running: Operator) -> None:
    added = running.json("users", "add", "3001", "--name", "Cleo", "--generate")
    assert len(added["password"]) == 20
    listed = {user["extension"]: user for user in running.json("users", "list")["users"]}
    assert listed["3001"]["name"] == "Cleo"
    assert listed["3001"]["source"] == "api"
    assert listed["2001"]["source"] == "spec"
    assert not [user for user in listed.values() if "ha1" in json.dumps(user)]
    again = running.run("users", "add", "3001", "--generate")
    assert again.returncode == 1
    assert "has a user 3001 already" in again.stderr
    said = running.ok("users", "password", "3001", "--password-stdin", stdin="new swordfish\n")
    assert "swordfish" not in said
    assert running.ok("users", "remove", "3001") == "sales 3001: removed\n"
    gone = running.run("users", "remove", "3001")
    assert gone.returncode == 1
    assert "sales has no user 3001" in gone.stderr


@pytest.mark.parametrize(
    "command",
    [["remove", "2001"], ["password", "2001", "--generate"], ["add", "2001", "--generate"]],
)
def test_users_of_the_spec_are_changed_in_the_spec(running: Operator, command: list[str]) -> None:
    refused = running.run("users", *command)
    assert refused.returncode == 1
    assert "sales 2001 belongs to the spec: change it there" in refused.stderr
    assert running.run("plan", str(running.spec), "--detailed-exitcode").returncode == 0


def test_import_all_or_nothing(running: Operator, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("extension,name,password\n4001,A,secret-one\n4002,B\nx,C,d\n2001,D,e\n")
    bad = running.run("users", "import", str(file), "--tenant", "sales")
    assert bad.returncode == 1
    assert "3 bad lines" in bad.stderr
    for place in ("users.csv:3", "users.csv:4", "users.csv:5"):
        assert place in bad.stderr
    assert "nothing was changed" in bad.stderr
    extensions = [user["extension"] for user in running.json("users", "list")["users"]]
    assert extensions == ["2001", "2002"]

    rows = "".join(f"{5000 + n},Name {n},secret-{n}\n" for n in range(2500))
    file.write_text("extension,name,password\n" + rows)
    assert running.json("users", "import", str(file))["written"] == 2500
    assert running.json("users", "import", str(file))["unchanged"] == 2500

    file.write_text("extension,name\n5000,Renamed\n8000,Nobody\n")
    assert running.json("users", "import", str(file))["written"] == 2
    listed = {
        user["extension"]: user
        for user in running.json("users", "list", "--limit", "9999")["users"]
    }
    assert listed["5000"]["name"] == "Renamed"
    assert listed["5000"]["can_register"]
    assert not listed["8000"]["can_register"]
    running.ok("users", "remove", "8000")

    exported = tmp_path / "out.csv"
    assert running.json("users", "export", "--out", str(exported))["users"] == 2502
    text = exported.read_text()
    assert "Name 2499" in text
    assert "secret-" not in text
    assert "ha1" not in text
    assert running.run("plan", str(running.spec), "--detailed-exitcode").returncode == 0


def test_watching_ends_with_ctrl_c(running: Operator) -> None:
    watch = running.start("status", "--watch", "--interval", "0.2", "--json")
    assert watch.stdout is not None
    reports = [json.loads(watch.stdout.readline()) for _ in range(3)]
    assert all(report["cluster"] == "it" for report in reports)
    watch.send_signal(2)
    _, errors = watch.communicate(timeout=30)
    assert watch.returncode == 130
    assert json.loads(errors)["error"]["interrupted"]


def test_following_a_log(running: Operator) -> None:
    follow = running.start("logs", "pbx1", "agent", "--follow", "-n", "1")
    assert follow.stdout is not None
    assert follow.stdout.readline()
    follow.send_signal(2)
    follow.communicate(timeout=30)
    assert follow.returncode == 130


def test_two_clusters_side_by_side_must_be_named(running: Operator) -> None:
    (running.state / "other" / "secrets").mkdir(parents=True)
    (running.state / "other" / "jobs" / "other-media-m1").mkdir(parents=True)
    try:
        which = running.run("status")
        assert which.returncode == 1
        assert "say which with --cluster" in which.stderr
        assert running.json("status", "--cluster", "it")["healthy"]
        (running.state / "other" / "jobs" / "other-media-m1").rmdir()
        assert running.json("status")["cluster"] == "it"
    finally:
        shutil.rmtree(running.state / "other")


def test_a_trunk_that_is_not_registered_is_shown(running: Operator) -> None:
    note = "trunk carrier: not registered"
    assert note in running.ok("status")
    (shown,) = running.json("status")["trunks"]
    assert (shown["name"], shown["server"]) == ("carrier", "pbx1")
    assert shown["registration"] in ("registering", "no password")
    heading, row = running.ok("trunks").splitlines()
    assert heading.split()[:3] == ["TRUNK", "HOST", "TRANSPORT"]
    assert row.split()[:3] == ["carrier", f"{running.network}.99", "UDP"]
    assert running.json("trunks")["trunks"] == [shown]


def test_nobody_is_mailed_where_the_spec_names_nobody(running: Operator) -> None:
    assert running.ok("alerts", "list").splitlines()[0] == "mails go to nobody"
    assert running.json("alerts", "list")["recipients"] == []
    wrong = running.run("alerts", "test")
    assert wrong.returncode == 1
    assert "pbx1: the spec names nobody to mail: alerts.email" in wrong.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("calls --tenant nope", "no tenant is named nope; the tenants are sales"),
        ("registrations --tenant nope", "no tenant is named nope; the tenants are sales"),
        ("registrations --extension 2999", "no tenant has a user 2999; the users are 2001, 2002"),
        ("registrations --tenant sales --extension 2999", "sales has no user 2999; the users are"),
        ("registrations --extension nope", '"nope" is no extension: expected 2 to 15 digits'),
        ("users add nope --generate", '"nope" is no extension: expected 2 to 15 digits'),
    ],
)
def test_who_does_not_exist_is_said(running: Operator, command: str, said: str) -> None:
    wrong = running.run(*command.split())
    assert wrong.returncode == 1
    assert said in wrong.stderr


def test_an_export_can_be_imported_again(running: Operator, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    running.ok("users", "add", "3001", "--name", "Cleo", "--generate")
    users = running.json("users", "export", "--out", str(file))["users"]
    done = running.json("users", "import", str(file))
    assert (done["written"], done["unchanged"]) == (0, users)
    file.write_text(file.read_text().replace("Cleo", "Clea"))
    done = running.json("users", "import", str(file))
    assert (done["written"], done["unchanged"]) == (1, users - 1)
    running.ok("users", "remove", "3001")
    text = file.read_text()
    file.write_text(text.replace("Anna", "Hanna"))
    refused = running.run("users", "import", str(file))
    assert refused.returncode == 1
    assert "2001 belongs to the spec" in refused.stderr
    assert "1 bad line" in refused.stderr
    listed = [user["extension"] for user in running.json("users", "list")["users"]]
    assert listed[:2] == ["2001", "2002"]
    assert "3001" not in listed


def test_plain_text_has_no_colours_even_where_a_terminal_would(running: Operator) -> None:
    script = f'pbxctl() {{ {__import__("sys").executable} -m pbxctl "$@"; }}; pbxctl status'
    done = subprocess.run(
        ["script", "-qec", f"bash -c '{script}'", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**running.environment, "NO_COLOR": "1", "TERM": "xterm"},
        check=False,
    )
    assert "\x1b[3" not in done.stdout
    assert "call-manager" in done.stdout
