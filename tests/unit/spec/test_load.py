"""What good specs give: YAML's features, secrets, users' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbxctl.spec import ClusterSpec, SpecError, load, load_bytes
from pbxctl.spec.problems import Problem
from pbxctl.spec.users import Users, read_users, stream_users
from services.core.configuration import Destination, User, ha1

HEAD = "cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [call-manager, media]}]\n"
TENANT = HEAD + "tenants:\n  - name: t\n    domains: [t.example]\n"


def spec(text: str, environment: dict[str, str] | None = None, at: Path = Path()) -> ClusterSpec:
    return load_bytes("x.yaml", text.encode(), at, environment or {}).spec


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TENANT.encode(),
        TENANT.replace("\n", "\r\n").encode(),
        b"%YAML 1.1\n---\n" + TENANT.encode(),
        b"---\n" + TENANT.encode() + b"...\n",
        b"# a comment\n\n" + TENANT.encode(),
    ],
    ids=["byte order mark", "CRLF", "YAML 1.1", "document marks", "comment"],
)
def test_every_usual_form_of_a_file(data: bytes) -> None:
    assert load_bytes("x.yaml", data, Path(), {}).spec == spec(TENANT)


def test_anchors_and_merges() -> None:
    shared = spec(
        HEAD
        + "tenants:\n"
        + "  - &first {name: t1, domains: [t1.example], language: de, emergency: &e ['112']}\n"
        + "  - {<<: *first, name: t2, domains: [t2.example]}\n"
        + "  - {<<: [*first], name: t3, domains: [t3.example], emergency: *e}\n"
    )
    assert [tenant.name for tenant in shared.tenants] == ["t1", "t2", "t3"]
    assert {tenant.language for tenant in shared.tenants} == {"de"}
    assert shared.tenants[1].emergency == ("112",)


def test_booleans_are_read_as_people_write_them() -> None:
    found = spec(TENANT + "    record: yes\n    users: [{extension: '20', do_not_disturb: off}]\n")
    assert found.tenants[0].record is True
    assert found.tenants[0].users[0].do_not_disturb is False


def test_durations_and_sizes() -> None:
    found = spec(
        TENANT
        + "    ring_groups: {g: {members: ['20'], timeout: 2m}}\n    users: [{extension: '20'}]\n"
        + "recording: {keep: 0d, min_free: 2TiB}\nsecurity: {failed_auth: {ban: 1h}}\n"
    )
    assert found.tenants[0].ring_groups["g"].timeout == 120
    assert (found.recording.keep, found.recording.min_free) == (0, 2 * 1024 * 1024)
    assert found.security.failed_auth.ban == 3600


@pytest.mark.parametrize(
    ("uri", "peer"),
    [
        ("sip:sbc.example", ("sbc.example", 0, "udp")),
        ("sip:SBC.example:5070", ("sbc.example", 5070, "udp")),
        ("sips:sbc.example", ("sbc.example", 0, "tls")),
        ("sip:192.0.2.1;transport=tcp", ("192.0.2.1", 0, "tcp")),
        ("sip:[2001:db8::1]:5061;transport=tls", ("2001:db8::1", 5061, "tls")),
    ],
)
def test_peers(uri: str, peer: tuple[str, int, str]) -> None:
    found = spec(HEAD + f"trunks: {{c: {{peer: '{uri}'}}}}\n").trunks["c"].peer
    assert (found.host, found.port, found.transport) == peer


def test_the_vip_is_the_call_manager_s_address_unless_given() -> None:
    assert spec(HEAD).network.vip == "127.0.0.1"
    given = spec(HEAD + "network: {vip: 127.0.0.1/8}\n").network
    assert (given.vip, given.vip_prefix) == ("127.0.0.1", 8)


def test_secrets_from_environment_and_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes("pä ss\r\n".encode())
    for where, value in (("env: P", "from env"), ("file: secret", "pä ss")):
        trunk = (
            f"trunks: {{c: {{peer: 'sip:c', register: {{username: u, password: {{{where}}}}}}}}}"
        )
        register = spec(HEAD + trunk, {"P": "from env"}, tmp_path).trunks["c"].register
        assert register is not None
        assert register.password.value == value
        assert value not in repr(register)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "secret is empty"),
        (b"\n", "secret is empty"),
        (b"a\nb\n", "has more than one line"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a\0b", "is not UTF-8 text"),
        (b"x" * 5000, "is longer than 4096 bytes"),
    ],
)
def test_secret_files_that_hold_none(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    user = "    users: [{extension: '20', password: {file: secret}}]\n"
    with pytest.raises(SpecError, match=why):
        spec(TENANT + user, at=tmp_path)


def test_a_secret_is_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("extension,password,max_calls\n20,s3cret,many\n21,s3cret,0,0\n")
    text = TENANT + (
        "    users: {file: u.csv}\n  - name: t2\n    domains: [t2.example]\n"
        "    users: [{extension: 20, password: s3cret}, {extension: '21', password: [s3cret]}]\n"
    )
    with pytest.raises(SpecError) as failed:
        spec(text, at=tmp_path)
    assert len(failed.value.problems) == 5
    assert "s3cret" not in str(failed.value)


def test_a_spec_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no\.yaml: cannot read it: No such file or directory"):
        load(tmp_path / "no.yaml", {})
    with pytest.raises(SpecError, match="cannot read it: Is a directory"):
        load(tmp_path, {})
    with pytest.raises(SpecError, match="cannot read it: no such file"):
        load(tmp_path / "a\0b", {})


def test_problems_are_in_the_order_of_the_file() -> None:
    with pytest.raises(SpecError) as failed:
        spec("cluster: X\nengin: local\nservers: 5\ntenants: 7\n")
    lines = [problem.line for problem in failed.value.problems]
    assert lines == sorted(lines)
    assert len(lines) == 4


def test_a_problem_prints_as_a_compiler_s() -> None:
    problem = Problem(file="a.yaml", line=3, column=7, path="servers[0].name", text="is taken")
    assert str(problem) == "a.yaml:3:7: servers[0].name: is taken"


def users(text: str, realm: str = "t.example") -> Users:
    found = read_users("u.csv", text.encode("utf-8"), "t", realm)
    assert found.problems == []
    return found


@pytest.mark.parametrize(
    "text",
    [
        "extension,name,max_calls\n20,Anna,2\n21,Ben,\n",
        "extension;name;max_calls\n20;Anna;2\n21;Ben;\n",
        "extension\tname\tmax_calls\n20\tAnna\t2\n21\tBen\t\n",
        "\ufeffextension,name,max_calls\r\n20,Anna,2\r\n21,Ben,\r\n",
        "Extension , Name,MAX_CALLS\n 20 ,Anna , 2\n\n,,\n21,Ben,",
        'name,"extension",max_calls\n"Anna","20",2\nBen,21,0\n',
    ],
    ids=["comma", "semicolon", "tab", "Excel", "spaces and blank lines", "quotes"],
)
def test_every_usual_form_of_a_users_file(text: str) -> None:
    assert users(text).users == [
        User(tenant="t", extension="20", name="Anna", max_calls=2),
        User(tenant="t", extension="21", name="Ben"),
    ]


def test_every_column_of_a_users_file() -> None:
    found = users(
        "extension,name,email,permission,password,max_calls,caller_id,do_not_disturb,record,enabled,"
        "forward_always,forward_busy,forward_no_answer,forward_no_answer_after,"
        "forward_not_registered\n"
        '20,"Ott, Dr. Jana",j@t.example,national,pass,3,+4930100,yes,1,no,'
        "21,+4930200,ring_group:desk,15s,announcement:unavailable\n"
    ).users[0]
    assert found.name == "Ott, Dr. Jana"
    assert found.ha1_md5 == ha1("20", "t.example", "pass", "MD5")
    assert found.ha1_sha256 == ha1("20", "t.example", "pass", "SHA-256")
    assert (found.permission, found.max_calls, found.caller_id) == ("national", 3, "+4930100")
    assert (found.do_not_disturb, found.record, found.enabled) == (True, True, False)
    assert found.forward.always == Destination(kind="extension", target="21")
    assert found.forward.busy == Destination(kind="number", target="+4930200")
    assert found.forward.no_answer == Destination(kind="ring_group", target="desk")
    assert found.forward.no_answer_after == 15
    assert found.forward.not_registered == Destination(kind="announcement", target="unavailable")


def test_lines_of_users_are_those_of_the_file() -> None:
    found = users('extension,name\n\n20,Anna\n21,"x"\n\n22,Cleo\n')
    assert found.lines == [3, 4, 6]


def test_a_long_users_file_is_given_up_after_a_hundred_mistakes() -> None:
    found = read_users("u.csv", b"extension\n" + b"x\n" * 5000, "t", "t.example")
    assert len(found.problems) == 101
    assert "the rest was not read" in found.problems[-1].text


def test_streaming_gives_the_same(tmp_path: Path) -> None:
    text = 'extension,name\n20,Anna\n20,Twice\nx,Wrong\n21,"Ben"\n'
    file = tmp_path / "u.csv"
    file.write_text(text)
    whole = read_users("u.csv", text.encode(), "t", "t.example")
    with file.open("rb") as stream:
        streamed = [found for _, found in stream_users("u.csv", stream, "t", "t.example")]
    assert [found for found in streamed if isinstance(found, User)] == whole.users
    assert [found for found in streamed if isinstance(found, Problem)] == whole.problems
