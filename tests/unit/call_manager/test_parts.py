"""The smaller parts: health, certificate, supervision, Kamailio's RPC, the copy of users."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import stat
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509

from services.call_manager import certificate
from services.call_manager.health import LATE, Checks, judge
from services.call_manager.log import OneLine
from services.call_manager.rpc import RpcError, open_rpc
from services.call_manager.supervision import Supervisor
from services.call_manager.tables import TablesReader, TablesWriter
from services.call_manager.user_copy import UserCopy
from services.core.configuration import User
from services.core.store import Database, migrate, users

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_health_is_critical_only_without_sip() -> None:
    checks = Checks(sip_at=100.0, took=0.0021, sip_problem="", database_problem="")
    assert judge(checks, [], 101.0).status == "passing"
    assert judge(checks, [], 101.0).output == "SIP OPTIONS 2 ms"
    assert judge(checks, ["", "registry: away"], 101.0).status == "warning"
    checks.database_problem = "database: gone"
    assert judge(checks, [], 101.0).problems == ["database: gone"]
    checks.sip_problem = "SIP OPTIONS: no answer within 2 s"
    late = judge(checks, [], 100.0 + LATE + 0.1)
    assert (late.status, late.output) == ("critical", "SIP OPTIONS: no answer within 2 s")
    assert judge(Checks(), [], 0.0).status == "critical"


def test_a_certificate_is_made_once_and_names_where_we_are(tmp_path: Path) -> None:
    names = ["192.0.2.1", "pbx.example", "192.0.2.1", "2001:db8::1"]
    assert certificate.ensure(tmp_path / "tls", names, NOW)
    made = (tmp_path / "tls" / "cert.pem").read_bytes()
    found = x509.load_pem_x509_certificate(made)
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert extension.get_values_for_type(x509.DNSName) == ["pbx.example"]
    assert extension.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("2001:db8::1"),
    ]
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600
    assert not certificate.ensure(tmp_path / "tls", ["other.example"], NOW)
    assert (tmp_path / "tls" / "cert.pem").read_bytes() == made


async def test_a_watcher_that_fails_is_told_and_run_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    supervisor, runs = Supervisor(), 0

    async def watcher() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("no luck")
        supervisor.well("watcher")
        await trio.sleep_forever()

    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run, "watcher", watcher)
            await trio.sleep(0.1)
            assert supervisor.problems == {"watcher": "watcher: RuntimeError: no luck"}
            await trio.sleep(10)
            assert supervisor.problems == {}
            assert runs == 3
            nursery.cancel_scope.cancel()
    assert runs == 3


def test_a_log_record_is_one_line() -> None:
    import logging

    record = logging.LogRecord("a", logging.ERROR, "", 0, "one\ntwo", None, None)
    assert OneLine("%(message)s").format(record) == "one | two"


async def test_an_answer_to_a_question_given_up_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "k"
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as kamailio:
        await kamailio.bind(str(path))

        async def serve() -> None:
            held: list[tuple[dict[str, object], str]] = []
            while True:
                data, source = await kamailio.recvfrom(65536)
                request = msgspec.json.decode(data)
                held.append((request, source))
                if request["method"] == "slow":
                    continue
                for each, where in held:
                    answer = {"jsonrpc": "2.0", "id": each["id"], "result": each["method"]}
                    if each["method"] == "fails":
                        answer = {"id": each["id"], "error": {"code": 500, "message": "No"}}
                    await kamailio.sendto(msgspec.json.encode(answer), where)
                held.clear()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery, open_rpc(path) as rpc:
                nursery.start_soon(serve)
                with pytest.raises(RpcError, match=r"did not answer slow within 0\.1 s"):
                    await rpc("slow", timeout=0.1)
                assert await rpc("fast") == "fast"
                with pytest.raises(RpcError, match="fails: No") as caught:
                    await rpc("fails", "x", 1)
                assert caught.value.code == 500
                nursery.cancel_scope.cancel()


async def test_no_kamailio_is_told_at_once(tmp_path: Path) -> None:
    async with open_rpc(tmp_path / "none") as rpc:
        with pytest.raises(RpcError, match="does not run"):
            await rpc("core.uptime")


async def test_users_are_copied_once_and_then_followed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/pbx.db")
    migrate(database)
    writer = TablesWriter(tmp_path / "tables")
    reader = TablesReader(tmp_path / "tables")

    def put(*extensions: str, name: str = "") -> None:
        with database.write() as connection:
            for extension in extensions:
                users.put(connection, User(tenant="acme", extension=extension, name=name))

    def known() -> dict[str, str]:
        reader.refresh()
        found = (reader.user("acme", extension) for extension in ("1", "2", "3"))
        return {user.extension: user.name for user in found if user}

    put("1", "2")
    copy = UserCopy(database, writer)
    told: list[list[tuple[str, str]]] = []
    copy.tell(told.append)
    assert copy.problem
    await copy.copy()
    reader.refresh()
    assert copy.problem == ""
    assert (known(), reader.complete) == ({"1": "", "2": ""}, True)
    put("2", "3", name="new")
    with database.write() as connection:
        users.delete(connection, "acme", "1")
    await copy.copy()
    assert known() == {"2": "new", "3": "new"}
    # Who has no password cannot register either.
    assert [sorted(some) for some in told] == [[], [("acme", "1"), ("acme", "2"), ("acme", "3")]]
    # Another agent goes on from the same mark; a store that is another one is copied whole.
    again = UserCopy(database, writer)
    put("1", name="later")
    await again.copy()
    assert known() == {"1": "later", "2": "new", "3": "new"}
    database.close()
    other = Database(f"sqlite:///{tmp_path}/other.db")
    migrate(other)
    with other.write() as connection:
        users.put(connection, User(tenant="acme", extension="3", name="other"))
        users.put(connection, User(tenant="acme", extension="4", enabled=False))
    whole = UserCopy(other, writer)
    whole.tell(told.append)
    await whole.copy()
    assert known() == {"3": "other"}
    assert sorted(told[-1]) == [("acme", "1"), ("acme", "2"), ("acme", "4")]
    other.close()
    writer.close()


async def test_users_stay_while_the_database_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/pbx.db")
    migrate(database)
    writer = TablesWriter(tmp_path / "tables")
    with database.write() as connection:
        users.put(connection, User(tenant="acme", extension="1"))
    copy = UserCopy(database, writer)
    await copy.copy()
    database.close()
    _away(tmp_path)
    await copy.copy()
    assert copy.problem.startswith("users are as they were: database: ")
    reader = TablesReader(tmp_path / "tables")
    reader.refresh()
    assert reader.user("acme", "1") is not None
    writer.close()
    database.close()


def _away(root: Path) -> None:
    for path in root.glob("pbx.db*"):
        path.unlink()
    (root / "pbx.db").mkdir()


def test_a_clusters_certificate_is_taken_once(tmp_path: Path) -> None:
    directory, given = tmp_path / "tls", tmp_path / "secrets"
    certificate.take_given(directory, given)
    assert not directory.exists()
    given.mkdir()
    for name in ("sip_certificate", "sip_key"):
        (given / name).write_text(f"{name} of the cluster")
    certificate.take_given(directory, given)
    assert not certificate.ensure(directory, ["pbx.example"], NOW)
    assert (directory / "cert.pem").read_text() == "sip_certificate of the cluster"
    assert (directory / "key.pem").stat().st_mode & 0o777 == 0o600
    (directory / "cert.pem").write_text("the operator's own")
    certificate.take_given(directory, given)
    assert (directory / "cert.pem").read_text() == "the operator's own"
