"""Tables: what the agent writes is what workers read, at once and whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.tables import (
    MediaServer,
    MemoryTables,
    Networks,
    Number,
    Picture,
    TablesReader,
    TablesWriter,
    Target,
)
from services.core.configuration import Cluster, Destination, Route, Tenant, Trunk, User

NUMBER = Number(tenant="sales", destination=Destination(kind="extension", target="1"))


def picture(**more: object) -> Picture:
    return Picture(
        cluster=Cluster(name="c"),
        routes=(Route(name="r", match=("+49*",), trunks=()),),
        tenants=(Tenant(name="sales", domains=("Sales.Example", "b.example")),),
        trunks=(Trunk(name="a", host="h", addresses=("192.0.2.0/24",)),),
        numbers={"+491": NUMBER},
        **more,  # type: ignore[arg-type]
    )


def users(count: int) -> Iterator[User]:
    return (User(tenant="sales", extension=str(n)) for n in range(count))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[TablesWriter]:
    made = TablesWriter(tmp_path)
    yield made
    made.close()


def test_what_is_written_is_read(writer: TablesWriter, tmp_path: Path) -> None:
    writer.write(picture())
    writer.write_sources({"198.51.100.1": "a"})
    writer.write_media([MediaServer(name="m", set=3, control="c:1", announce="a:1", capacity=5)])
    writer.load_users(users(3))
    reader = TablesReader(tmp_path)
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.cluster.name == "c"
    for domain in ("sales.example", "b.example"):
        tenant = reader.tenant_of(domain)
        assert tenant is not None
        assert tenant.name == "sales"
    assert reader.tenant_of("c.example") is None
    assert reader.user("sales", "2") == User(tenant="sales", extension="2")
    assert reader.user("sales", "3") is None
    assert reader.user("sales", "x" * 1000) is None
    assert reader.number("+491") == NUMBER
    assert reader.number("") is None
    assert reader.number("9" * 1000) is None
    assert reader.trunk_of("192.0.2.77") is reader.trunks["a"]
    assert reader.trunk_of("198.51.100.1") is reader.trunks["a"]
    assert reader.trunk_of("198.51.100.2") is None
    assert reader.trunk_of("nonsense") is None
    assert (reader.address_of("a"), reader.port_of("a")) == ("198.51.100.1", 0)
    writer.write_sources({"198.51.100.1": "a"}, {"a": Target("198.51.100.9", 5080)})
    assert reader.refresh()
    assert (reader.address_of("a"), reader.port_of("a")) == ("198.51.100.9", 5080)
    assert reader.media["m"].set == 3
    assert reader.routes.find("+4930", "sales") is not None
    assert reader.complete


def test_users_change_without_a_new_generation(writer: TablesWriter, tmp_path: Path) -> None:
    writer.write(picture())
    reader = TablesReader(tmp_path)
    reader.refresh()
    assert not reader.complete
    writer.put_users(users(2))
    assert not reader.refresh()
    assert reader.user("sales", "1") is not None
    assert writer.remove_users([("sales", "1"), ("sales", "9")]) == 1
    assert not reader.refresh()
    assert reader.user("sales", "1") is None


def test_loading_users_removes_the_others(writer: TablesWriter, tmp_path: Path) -> None:
    writer.put_users(users(50))
    assert writer.load_users(users(20)) == 20
    reader = TablesReader(tmp_path)
    reader.refresh()
    assert reader.user("sales", "19") is not None
    assert reader.user("sales", "20") is None
    assert writer.complete


def test_equal_pictures_make_no_new_generation_of_media(
    writer: TablesWriter, tmp_path: Path
) -> None:
    reader = TablesReader(tmp_path)
    server = MediaServer(name="m", set=1, control="", announce="", capacity=1)
    writer.write_media([server])
    reader.refresh()
    writer.write_media([server])
    writer.write_sources({})
    assert not reader.refresh()


def test_a_picture_replaces_the_last_one_whole(writer: TablesWriter, tmp_path: Path) -> None:
    writer.write(picture())
    writer.write(Picture(cluster=Cluster(name="d")))
    reader = TablesReader(tmp_path)
    reader.refresh()
    assert reader.cluster.name == "d"
    assert reader.tenant_of("sales.example") is None
    assert reader.number("+491") is None
    assert not reader.trunks


def test_another_process_reads(writer: TablesWriter, tmp_path: Path) -> None:
    writer.write(picture())
    writer.load_users(users(5))
    code = (
        "import sys, pathlib; from services.call_manager.tables import TablesReader\n"
        "r = TablesReader(pathlib.Path(sys.argv[1])); r.refresh()\n"
        "print(r.user('sales', '4').extension, r.cluster.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout.split() == ["4", "c"]


def test_no_tables_yet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="prepare"):
        TablesReader(tmp_path / "none").refresh()


def test_memory_and_files_agree(writer: TablesWriter, tmp_path: Path) -> None:
    writer.write(picture())
    writer.load_users(users(2))
    reader, memory = TablesReader(tmp_path), MemoryTables(picture(), users(2))
    reader.refresh()
    for domain in ("sales.example", "b.example", "x"):
        assert reader.tenant_of(domain) == memory.tenant_of(domain)
    for extension in ("0", "1", "2"):
        assert reader.user("sales", extension) == memory.user("sales", extension)
    for address in ("192.0.2.1", "203.0.113.1"):
        assert reader.trunk_of(address) == memory.trunk_of(address)
    assert reader.number("+491") == memory.number("+491")


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=5), st.integers(0, 32))
def test_networks(address: object, bases: list[object], length: int) -> None:
    import ipaddress

    networks = [ipaddress.ip_network(f"{base}/{length}", strict=False) for base in bases]
    trunks = [Trunk(name=str(i), host="h", addresses=(str(n),)) for i, n in enumerate(networks)]
    found = Networks(trunks).find(str(address))
    fitting = [str(i) for i, n in enumerate(networks) if address in n]
    assert (found is None) == (not fitting)
    assert found is None or found in fitting
