"""The plan: golden cases, and what must hold for any of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pbxctl.deployment import Deployment
from pbxctl.plan import (
    PlanError,
    Running,
    make_plan,
    read,
    refuse_stale,
    render,
    save,
    secret_fingerprint,
)
from services.core import configuration
from tests.unit.plan.facts import (
    CASES,
    SECRETS,
    TOKEN,
    applied,
    deployment,
    fingerprints,
    plan_of,
    shown,
    without,
)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_case(file: Path) -> None:
    case = json.loads(file.read_text())
    assert shown(plan_of(case)) == {"text": case["text"], "changes": case["changes"]}


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_nothing_is_left_to_do_after_apply(file: Path) -> None:
    wanted = deployment(**json.loads(file.read_text())["wanted"])
    plan = make_plan(wanted, applied(wanted, wanted), fingerprints(wanted))
    assert plan.empty, render(plan)


def test_files_of_sound_that_the_store_lacks_are_sent() -> None:
    wanted = msgspec.structs.replace(deployment(), sounds={"a" * 64: b"RIFF", "b" * 64: b"RIFF"})
    there = applied(wanted, wanted)
    assert make_plan(wanted, there, fingerprints(wanted)).empty
    lacking = msgspec.structs.replace(there, sounds=frozenset(["a" * 64]))
    (change,) = make_plan(wanted, lacking, fingerprints(wanted)).changes
    assert (change.action, change.subject, change.text) == ("add", "sounds", "1 file of sound")


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_no_secret_and_no_ha1_is_in_a_plan(file: Path) -> None:
    case = json.loads(file.read_text())
    wanted = deployment(**case["wanted"])
    plan = plan_of(case)
    written = save(plan).decode() + render(plan)
    ha1s = [u.ha1_md5 for d in wanted.directories for u in d.users if u.ha1_md5]
    ha1s += [u.ha1_sha256 for d in wanted.directories for u in d.users if u.ha1_sha256]
    assert ha1s
    for hidden in [*SECRETS.values(), *wanted.secrets.values(), *ha1s, TOKEN]:
        assert hidden not in written


def test_planning_changes_nothing_it_is_given() -> None:
    wanted, before = deployment([["channels: 30", "channels: 60"]]), deployment()
    running = applied(before, wanted)
    kept = copy.deepcopy((wanted, running))
    make_plan(wanted, running, fingerprints(wanted))
    assert (wanted, running) == kept


def test_a_saved_plan_reads_back() -> None:
    wanted = deployment([["channels: 30", "channels: 60"]])
    plan = make_plan(wanted, applied(deployment(), wanted), fingerprints(wanted))
    plan = msgspec.structs.replace(plan, spec="base.yaml")
    again = read(save(plan))
    assert msgspec.to_builtins(again) == msgspec.to_builtins(plan)
    refuse_stale(again, make_plan(wanted, applied(deployment(), wanted), fingerprints(wanted)))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"cluster: x", b"\xff\xfe", b"[" * 100_000, b'{"cluster": 1}', b"null"],
    ids=["empty", "no fields", "a spec", "binary", "deep", "wrong types", "null"],
)
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(PlanError, match="not a plan that pbxctl wrote"):
        read(data)


def test_a_plan_of_another_version_is_refused() -> None:
    wanted = deployment()
    plan = make_plan(wanted, Running(), fingerprints(wanted))
    with pytest.raises(PlanError, match="version 2"):
        read(save(msgspec.structs.replace(plan, version=2)))


def stale(change: str) -> tuple[Deployment, Running]:
    """What is wanted and what runs when the saved plan is to be applied."""
    wanted = deployment([["channels: 30", "channels: 60"]])
    running = applied(deployment(), wanted)
    if change == "spec":
        wanted = deployment([["channels: 30", "channels: 90"]])
    elif change == "users":
        wanted = deployment([["channels: 30", "channels: 60"]], {"ANNA": "another"})
    elif change == "secret":
        wanted = deployment([["channels: 30", "channels: 60"]], {"TRUNK": "another"})
        running = applied(deployment(), wanted)
    elif change == "release":
        wanted = deployment([["channels: 30", "channels: 60"]], release="1.1.0")
    elif change == "job":
        running = without(running, ["jobs/acme-voice-media-media2"])
    elif change == "document":
        running = without(running, ["documents/routes"])
    elif change == "cluster":
        wanted = deployment([["cluster: acme-voice", "cluster: other"]])
    return wanted, running


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("spec", "the spec, or what is installed, has changed since the plan"),
        ("users", "the spec, or what is installed, has changed since the plan"),
        ("release", "the spec, or what is installed, has changed since the plan"),
        ("secret", "what runs has changed since the plan"),
        ("job", "what runs has changed since the plan"),
        ("document", "what runs has changed since the plan"),
        ("cluster", "the plan is for acme-voice, the spec for other"),
    ],
)
def test_a_stale_plan_is_refused(change: str, why: str) -> None:
    wanted, running = stale("nothing")
    saved = read(save(make_plan(wanted, running, fingerprints(wanted))))
    wanted, running = stale(change)
    with pytest.raises(PlanError, match=why):
        refuse_stale(saved, make_plan(wanted, running, fingerprints(wanted)))


def test_a_task_that_restarted_makes_no_plan_stale() -> None:
    wanted, running = stale("nothing")
    saved = read(save(make_plan(wanted, running, fingerprints(wanted))))
    jobs = tuple(msgspec.structs.replace(job, state="restarting", tasks=()) for job in running.jobs)
    running = msgspec.structs.replace(running, jobs=jobs)
    refuse_stale(saved, make_plan(wanted, running, fingerprints(wanted)))


def test_live_changes_restart_nothing() -> None:
    live = ["add-user", "change-password", "change-secret", "number-elsewhere", "ring-group"]
    live += ["trunk", "add-trunk", "route-order", "security", "add-tenant", "remove-tenant"]
    for name in live:
        file = next(file for file in CASES if file.stem == name)
        plan = plan_of(json.loads(file.read_text()))
        assert not plan.empty
        assert [change.restarts for change in plan.changes if change.restarts] == []


@pytest.mark.parametrize("foreign", [b"", b"\xff", b"[" * 100_000, b'{"name": 5}', b"null"])
def test_foreign_documents_are_replaced(foreign: bytes) -> None:
    """Somebody else's bytes in the key-value store break no plan, and nothing of them is shown."""
    wanted = deployment()
    running = applied(wanted, wanted)
    keys = ["cluster", "routes", "trunks/carrier-a", "tenants/works", "numbers/sales-gmbh/0"]
    documents = {**running.documents, **dict.fromkeys(keys, foreign), "trunks/\x1b[2J": foreign}
    running = msgspec.structs.replace(running, documents=documents)
    plan = make_plan(wanted, running, fingerprints(wanted))
    assert plan.count("change") + plan.count("remove") >= len(keys)
    assert "\x1b" not in render(plan)
    assert read(save(plan)).cluster == "acme-voice"


def test_numbers_that_move_between_documents_are_no_difference() -> None:
    """One new number shifts all after it; only that one is told."""
    count = configuration.NUMBERS_A_DOCUMENT + 10
    many = "".join(f'      "+49301{n:06}": {{extension: "2001"}}\n' for n in range(1, count))
    one = '      "+49301000000": {extension: "2001"}\n'
    before = deployment([["    numbers:\n", f"    numbers:\n{many}"]])
    wanted = deployment([["    numbers:\n", f"    numbers:\n{one}{many}"]])
    assert "numbers/sales-gmbh/1" in before.documents
    plan = make_plan(wanted, applied(before, wanted), fingerprints(wanted))
    differences: dict[str, Any] = plan.changes[0].differences
    assert list(differences) == ['numbers."+49301000000"']


def test_secret_fingerprint_is_the_agreed_one() -> None:
    """The Call Manager computes the same: HMAC-SHA256(token, name NUL value), 16 hex digits."""
    assert secret_fingerprint("token", "name", "value") == "7bf1ac2ad9e93b96"
