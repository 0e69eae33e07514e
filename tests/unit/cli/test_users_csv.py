"""Users as CSV: every bad line is told, and what is exported can be imported."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from pbxctl.admin_client import AdminClient
from pbxctl.commands.directory import Listed, Store, choose
from pbxctl.commands.failure import CommandError
from pbxctl.commands.users_csv import COLUMNS, _send, check, read, row
from pbxctl.spec import Problem
from services.core.configuration import Destination, Forward, Tenant, User, encode, ha1


@pytest.fixture
async def users() -> Store:
    tenant = Tenant(name="sales", domains=("sales.example",))
    return Store(client=AdminClient("http://127.0.0.1:1", "token"), tenant=tenant)


def nobody(rows: int) -> None:
    """Nobody is told of progress."""


async def test_passwords_leave_as_ha1s(users: Store, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text("extension,name,password\n2001,Anna,swordfish\n")
    ((line, user),) = read(file, users)
    assert line == 2
    assert isinstance(user, User)
    assert user.ha1_sha256 == ha1("2001", "sales.example", "swordfish", "SHA-256")
    assert b"swordfish" not in encode(user)


async def test_all_bad_lines_are_told_with_their_numbers(users: Store, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    good = "".join(f"{3000 + i},Name\n" for i in range(200))
    file.write_text("extension,name\n2001,Anna\nx,Ben\n2001,Eve\n2002,a,b\n2003,Spec\n" + good)
    spec = {"2003": Listed(tenant="sales", extension="2003", name="Cleo", source="spec")}
    problems, rows = check(file, users, spec, nobody)
    assert rows == 205
    assert [problem.line for problem in problems] == [3, 4, 5, 6]
    assert "first in line 2" in problems[1].text
    assert "belongs to the spec" in problems[3].text


async def test_a_row_that_says_what_the_spec_says_is_passed_over(
    users: Store, tmp_path: Path
) -> None:
    spec = Listed(
        tenant="sales",
        extension="2003",
        name="Cleo",
        forward=Forward(no_answer=Destination(kind="extension", target="2001"), no_answer_after=30),
        record=True,
        source="spec",
        can_register=True,
    )
    file = tmp_path / "users.csv"
    exported = ",".join(COLUMNS) + "\n" + ",".join(map(str, row(spec))) + "\n"
    file.write_text(exported)
    assert check(file, users, {"2003": spec}, nobody) == ([], 1)
    sent = [chunk async for chunk in _send(file, users, {"2003": spec}, nobody)]
    assert sent == []
    file.write_text(exported.replace("Cleo", "Clea"))
    ((problem,), _) = check(file, users, {"2003": spec}, nobody)
    assert "belongs to the spec" in problem.text
    file.write_text("extension,name,record,password\n2003,Cleo,yes,new-password\n")
    ((problem,), _) = check(file, users, {"2003": spec}, nobody)
    assert "belongs to the spec" in problem.text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"name\nx\n", 'needs a column "extension"'),
        (b"extension,nam\n2001,x\n", 'did you mean "name"'),
        (b"extension\n2001\n\xff\n", "byte 0xff is not UTF-8"),
        (b'extension,name\n2001,"x\n', "quote not closed"),
        (b"\xff\xfe2\x000\x00", "UTF-16"),
    ],
)
async def test_a_file_that_is_no_such_csv(
    users: Store, tmp_path: Path, data: bytes, said: str
) -> None:
    file = tmp_path / "users.csv"
    file.write_bytes(data)
    problems, _ = check(file, users, {}, nobody)
    assert any(said in str(problem) for problem in problems)


async def test_what_is_exported_can_be_imported(users: Store, tmp_path: Path) -> None:
    forward = Forward(
        always=Destination(kind="number", target="+4930123456"),
        busy=Destination(kind="ring_group", target="front-desk"),
        no_answer=Destination(kind="extension", target="2002"),
        no_answer_after=12,
        not_registered=Destination(kind="announcement", target="unavailable"),
    )
    user = Listed(
        tenant="sales",
        extension="2001",
        name='Anna "A", Berg',
        email="anna@sales.example",
        permission="national",
        max_calls=3,
        caller_id="+4930123457",
        do_not_disturb=True,
        forward=forward,
        record=True,
        enabled=False,
        source="api",
    )
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, row(user)])
    file = tmp_path / "users.csv"
    file.write_text(text.getvalue())
    ((_, again),) = read(file, users)
    assert not isinstance(again, Problem)
    assert all(getattr(again, name) == getattr(user, name) for name in again.__struct_fields__)


def test_the_tenant_meant() -> None:
    documents = {
        "cluster": b"{}",
        "tenants/a": encode(Tenant(name="a", domains=("a.example",))),
        "tenants/b": encode(Tenant(name="b", domains=("b.example",))),
    }
    assert choose(documents, "b").domains == ("b.example",)
    with pytest.raises(CommandError, match="--tenant; the tenants are a, b"):
        choose(documents, None)
    with pytest.raises(CommandError, match="no tenant is named c; the tenants are a, b"):
        choose(documents, "c")
    del documents["tenants/b"]
    assert choose(documents, None).name == "a"
