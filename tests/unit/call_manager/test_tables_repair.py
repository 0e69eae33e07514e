"""Damaged tables are found before anybody opens them, set aside, and read again when anew."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from services.call_manager.tables import (
    LOOK_EVERY,
    MARKER,
    Picture,
    TablesReader,
    TablesWriter,
)
from services.call_manager.tables_repair import (
    TablesDamagedError,
    being_made_anew,
    check,
    repair,
    report,
    watch,
)
from services.core.configuration import Cluster, Tenant, User

COUNT = 5000
PICTURE = Picture(cluster=Cluster(name="c"), tenants=(Tenant(name="sales", domains=("s.e",)),))


def make(path: Path) -> None:
    writer = TablesWriter(path)
    writer.write(PICTURE)
    writer.load_users(
        User(tenant="sales", extension=str(n), name="x" * 60) for n in range(1000, 1000 + COUNT)
    )
    writer.close()


def cut(to: float) -> Callable[[Path], None]:
    return lambda data: os.truncate(data, int(data.stat().st_size * to))


def overwrite(start: float, length: float, pattern: bytes = b"\0") -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        size = data.stat().st_size
        with data.open("r+b") as file:
            file.seek(int(size * start) // 4096 * 4096)
            file.write(pattern * int(size * length / len(pattern)))

    return damage


def other_version(data: Path) -> None:
    with data.open("r+b") as file:
        for page in (0, 4096):
            file.seek(page + 20)
            file.write(b"\x09")


DAMAGES = {
    "cut in half": cut(0.5),
    "cut short": cut(0.0001),
    "empty": cut(0),
    "zeroed": overwrite(0, 1),
    "pages zeroed": overwrite(0.5, 0.25),
    "no meta pages": overwrite(0, 0.01),
    "garbage": overwrite(0, 1, os.urandom(64)),
    "garbage behind the meta pages": overwrite(0.01, 0.98, os.urandom(64)),
    "another version": other_version,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found_and_set_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make(tmp_path)
    assert check(tmp_path) == ""
    assert repair(tmp_path) == ""
    assert not being_made_anew(tmp_path)
    damage(tmp_path / "data.mdb")
    assert repair(tmp_path)
    assert being_made_anew(tmp_path)
    assert not (tmp_path / "data.mdb").exists()
    make(tmp_path)
    assert repair(tmp_path) == ""
    reader = TablesReader(tmp_path)
    reader.refresh()
    assert reader.user("sales", "5999") is not None


def test_new_tables_and_none_are_well(tmp_path: Path) -> None:
    assert check(tmp_path) == ""
    TablesWriter(tmp_path).close()
    assert check(tmp_path, users=True) == ""


def test_users_that_are_not_json_are_found(tmp_path: Path) -> None:
    make(tmp_path)
    data = tmp_path / "data.mdb"
    raw = data.read_bytes()
    data.write_bytes(raw.replace(b'"extension":"5000"', b'"extension":,5000,'))
    assert check(tmp_path) == ""
    assert check(tmp_path, users=True)
    reader = TablesReader(tmp_path)
    reader.refresh()
    with pytest.raises(msgspec.DecodeError):
        reader.user("sales", "5000")
    assert (tmp_path / MARKER).exists()
    assert reader.user("sales", "5001") is not None


WORKER = """
import pathlib, sys
from services.call_manager.tables import TablesReader
reader = TablesReader(pathlib.Path(sys.argv[1]))
for line in sys.stdin:
    try:
        reader.refresh()
        found = reader.user("sales", line.strip())
        print("none" if found is None else found.name[:3], reader.tenant_of("s.e").name, flush=True)
    except Exception as error:
        print("error", type(error).__name__, flush=True)
"""


def test_a_worker_goes_over_to_the_new_files(tmp_path: Path) -> None:
    make(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None

        def ask(extension: str) -> str:
            assert worker.stdin is not None
            assert worker.stdout is not None
            print(extension, file=worker.stdin, flush=True)
            return worker.stdout.readline().strip()

        def until(wanted: str, extension: str = "5001") -> None:
            end = time.monotonic() + LOOK_EVERY + 4
            while (found := ask(extension)) != wanted:
                assert time.monotonic() < end, found

        try:
            assert ask("5001") == "xxx sales"
            overwrite(0.2, 0.75)(tmp_path / "data.mdb")
            # Those it has decoded it goes on with.
            until("error CorruptedError", "5002")
            assert (tmp_path / MARKER).exists()
            assert repair(tmp_path)
            writer = TablesWriter(tmp_path)
            # What is small is known until the new tables have it.
            until("none sales")
            writer.write(PICTURE)
            writer.load_users([User(tenant="sales", extension="5001", name="new")])
            until("new sales")
            assert not (tmp_path / MARKER).exists()
            writer.close()
        finally:
            worker.stdin.close()
            worker.wait(10)


async def test_the_agent_notices(tmp_path: Path) -> None:
    make(tmp_path)
    found: list[str] = []

    async def agent() -> None:
        try:
            await watch(tmp_path)
        except TablesDamagedError as error:
            found.append(str(error))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent)
            # A worker that complained for nothing.
            report(tmp_path, "nothing")
            while (tmp_path / MARKER).exists():  # noqa: ASYNC110 - there is no event of a file
                await trio.sleep(0.05)
            cut(0.5)(tmp_path / "data.mdb")
    assert "cut from" in found[0]
    assert repair(tmp_path).startswith("cut from")
