"""A spec and what it compiles to."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import hcl2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbxctl.compile import Installation, compile_spec, manifest
from pbxctl.deployment import Deployment
from pbxctl.spec import load, load_bytes
from services.call_manager.settings import CallManagerSettings
from services.core import configuration
from services.core.configuration import Cluster, Destination, Manifest, Route, Tenant, Trunk
from services.core.menus import Hours, Menu
from services.core.settings import META, from_environment
from services.ivr.books import shelve, sounds
from services.ivr.settings import IvrSettings
from services.media.settings import MediaSettings

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
WHERE = Installation(prefix=Path("/opt/pbx"), state_dir=Path("/var/lib/pbx/x"), release="1.0.0")
ENVIRONMENT = {
    name: f"value-of-{name}"
    for name in (
        *("CARRIER_A_PASSWORD", "CARRIER_B_PASSWORD", "SMTP_PASSWORD"),
        *("ANNA_PASSWORD", "BEN_PASSWORD", "PASSWORD_2001", "PASSWORD_2002", "PASSWORD_2003"),
    )
}


def example(name: str) -> Deployment:
    return compile_spec(load(EXAMPLES / f"{name}.yaml", ENVIRONMENT).spec, WHERE)


def compiled(text: str) -> Deployment:
    return compile_spec(load_bytes("x.yaml", text.encode(), EXAMPLES, ENVIRONMENT).spec, WHERE)


@pytest.mark.parametrize("name", ["one-host", "multi-tenant", "ha-cluster"])
def test_examples_load_without_a_warning(name: str) -> None:
    assert load(EXAMPLES / f"{name}.yaml", ENVIRONMENT).warnings == ()


@pytest.mark.parametrize("role", ["call-manager", "ivr", "media"])
def test_jobs_give_exactly_the_variables_that_their_files_declare(role: str) -> None:
    with (ROOT / "jobs" / f"{role}.nomad.hcl").open() as file:
        declared = {
            name.strip('"')
            for block in hcl2.load(file)["variable"]
            for name in block  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]  # python-hcl2 is untyped
        }
    jobs = [job for job in example("one-host").jobs if job.role == role]
    assert jobs
    for job in jobs:
        assert set(job.variables) == declared


def test_services_read_what_jobs_are_given() -> None:
    """Through the job's meta, as a task sees it."""
    kinds: dict[str, Any] = {
        "call-manager": CallManagerSettings,
        "ivr": IvrSettings,
        "media": MediaSettings,
    }
    for job in example("multi-tenant").jobs:
        environment = {META + name.upper(): str(value) for name, value in job.variables.items()}
        read = from_environment(kinds[job.role], environment | {"NOMAD_ALLOC_DIR": "/run/x"})
        defaults = {each.name: each.default for each in msgspec.structs.fields(read)}
        for field in msgspec.structs.asdict(read):
            if field != "run_dir":
                default = defaults.get(field)
                assert str(getattr(read, field)) == str(job.variables.get(field, default))


def test_one_host() -> None:
    deployment = example("one-host")
    assert deployment.cluster == "one-host"
    assert [job.id for job in deployment.jobs] == [
        "one-host-call-manager-cm1",
        "one-host-ivr-app1",
        "one-host-media-media1",
        "one-host-media-media2",
    ]
    manager, ivr, media, _ = (job.variables for job in deployment.jobs)
    assert (ivr["address"], ivr["sip_port"], ivr["capacity"]) == ("127.0.0.21", 5070, 50)
    assert manager["vip"] == "127.0.0.1"
    assert manager["registry"] == "http://127.0.0.1:8500"
    assert manager["data_dir"] == "/var/lib/pbx/x/data/cm1/call-manager"
    assert manager["database_url"] == "sqlite:////var/lib/pbx/x/data/cm1/call-manager/pbx.db"
    assert media["media_address"] == "127.0.0.11"
    assert media["recordings_dir"] == "/var/lib/pbx/x/data/media1/media/recordings"
    assert media["secrets_dir"] == manager["secrets_dir"] == "/var/lib/pbx/x/secrets"


def test_a_cluster_on_hosts() -> None:
    deployment = example("ha-cluster")
    assert [job.id.removeprefix("ha-cluster-") for job in deployment.jobs] == [
        *(f"{role}-cm{n}" for role in ("call-manager", "database") for n in (1, 2, 3)),
        *("ivr-app1", "ivr-app2"),
        *(f"live-cm{n}" for n in (1, 2, 3)),
        *("media-media1", "media-media2"),
    ]
    jobs = {f"{job.role}/{job.server}": job.variables for job in deployment.jobs}
    manager, media = jobs["call-manager/cm1"], jobs["media/media2"]
    assert manager["managers"] == "cm1=10.20.0.11,cm2=10.20.0.12,cm3=10.20.0.13"
    assert (manager["vip"], manager["vip_prefix"]) == ("10.20.0.10", 24)
    assert manager["prefix"] == "/opt/pbx/1.0.0"
    assert manager["secrets_dir"] == "/var/lib/pbx/ha-cluster/secrets"
    assert manager["data_dir"] == "/var/lib/pbx/ha-cluster/data/cm1/call-manager"
    assert "host=10.20.0.11,10.20.0.12,10.20.0.13" in str(manager["database_url"])
    assert media["control_address"] == "10.20.0.22"
    assert str(media["media_addresses"]).startswith("10-20-0-121=10.20.0.121,10-20-0-122=")
    assert len({jobs[f"{role}/cm1"]["probe_port"] for role in ("call-manager", "live")}) == 2
    assert jobs["ivr/app2"]["probe_port"] == 7104


def test_a_media_server_that_comes_changes_nobody_s_settings() -> None:
    text = (EXAMPLES / "ha-cluster.yaml").read_text()
    line = "  - {name: media3, address: 10.20.0.23, media_address: 10.20.0.123, roles: [media]}\n"
    before = {job.id: job.variables for job in compiled(text).jobs}
    after = {
        job.id: job.variables
        for job in compiled(text.replace("\n# Carriers.", f"{line}\n# Carriers.")).jobs
    }
    assert set(after) - set(before) == {"ha-cluster-media-media3"}
    assert all(after[job] == variables for job, variables in before.items())


def test_documents_are_what_services_read() -> None:
    documents = example("multi-tenant").documents
    kinds: dict[str, Any] = {
        "cluster": Cluster,
        "routes": list[Route],
        "trunks": Trunk,
        "tenants": Tenant,
        "numbers": dict[str, Destination],
        "menus": Menu,
        "hours": Hours,
    }
    read = {k: configuration.decode(v, kinds[k.partition("/")[0]]) for k, v in documents.items()}
    assert read["cluster"].alerts.smtp_password.secret == "alerts.smtp.password"
    assert read["cluster"].recording.keep == 30
    assert read["trunks/carrier-a"].transport == "tls"
    assert read["trunks/carrier-a"].register.password.secret == "trunk.carrier-a.password"
    assert read["trunks/carrier-a"].register.expires == 600
    assert [t.cost for t in read["routes"][1].trunks] == [0.012, 0.009]
    assert read["tenants/acme"].ring_groups["sales"].members[1].priority == 2
    assert read["tenants/clinic"].plan.country == "49"
    assert read["numbers/clinic/0"]["+494012345679"].target == "unknown-number"


def test_menus_and_hours_are_documents_of_their_own() -> None:
    deployment = example("multi-tenant")
    documents = deployment.documents
    menu = configuration.decode(documents["menus/clinic/empfang"], Menu)
    assert menu.keys["1"]
    hours = configuration.decode(documents["hours/clinic/sprechstunde"], Hours)
    assert "2030-12-25" in hours.holidays
    tenant = configuration.decode(documents["tenants/acme"], Tenant)
    assert tenant.menus == {"welcome": "800"}
    # What an IVR server makes of them.
    whole = {**documents, "manifest": configuration.encode(manifest(deployment))}
    books = shelve(whole).books
    assert books is not None
    assert set(books["clinic"].menus) == {"empfang", "geschlossen"}
    assert {language for language, _ in sounds({"clinic": books["clinic"]})} == {"de", "en"}
    lacking = {key: value for key, value in whole.items() if key != "menus/clinic/empfang"}
    assert shelve(lacking).books is None


def test_files_of_sound_go_with_the_deployment(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    text = (
        "cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [call-manager, media, ivr]}]\n"
        "tenants: [{name: t, domains: [t.example], menus: {m: {extension: '800',"
        " prompt: {en: {file: a.wav}}, keys: {'1': {hang_up: {en: {file: a.wav}}}}}}}]\n"
    )
    deployment = compile_spec(load_bytes("x.yaml", text.encode(), tmp_path, {}).spec, WHERE)
    (digest,) = deployment.sounds
    assert digest.encode() in deployment.documents["menus/t/m"]


def test_users_come_from_the_list_and_from_the_file() -> None:
    acme, clinic = example("multi-tenant").directories
    assert [user.extension for user in acme.users] == ["2001", "2002"]
    anna = acme.users[0]
    password = ENVIRONMENT["ANNA_PASSWORD"]
    assert anna.ha1_md5 == configuration.ha1("2001", "acme.example", password, "MD5")
    assert anna.ha1_sha256 == configuration.ha1("2001", "acme.example", password, "SHA-256")
    assert anna.forward.busy == Destination(kind="extension", target="2002")
    assert [user.extension for user in clinic.users] == ["100", "101", "102", "103"]
    assert clinic.users[2].forward.not_registered == Destination(
        kind="number", target="+491709876543"
    )
    for directory in (acme, clinic):
        assert directory.digest == configuration.digest(configuration.encode(directory.users))


def test_secrets_are_in_the_secrets_alone() -> None:
    deployment = example("multi-tenant")
    assert deployment.secrets == {
        "alerts.smtp.password": "value-of-SMTP_PASSWORD",
        "trunk.carrier-a.password": "value-of-CARRIER_A_PASSWORD",
        "trunk.carrier-b.password": "value-of-CARRIER_B_PASSWORD",
    }
    rest = msgspec.structs.replace(deployment, secrets={})
    assert b"value-of-" not in configuration.encode(rest)
    assert all(b"value-of-" not in document for document in deployment.documents.values())
    spec = load(EXAMPLES / "multi-tenant.yaml", ENVIRONMENT).spec
    assert "value-of-" not in repr(spec)


def test_the_manifest_names_every_document() -> None:
    deployment = example("multi-tenant")
    found = manifest(deployment)
    assert found == Manifest(
        spec_hash=deployment.spec_hash,
        release="1.0.0",
        documents={k: configuration.digest(v) for k, v in deployment.documents.items()},
    )


def test_many_numbers_are_cut_below_the_store_s_limit() -> None:
    numbers = "".join(f'"+49{n:013}": {{extension: "2001"}}, ' for n in range(5000))
    deployment = compiled(
        "cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [call-manager, media]}]\n"
        "tenants: [{name: t, domains: [t.example], users: [{extension: '2001'}],"
        f" numbers: {{{numbers}}}}}]\n"
    )
    chunks = [v for k, v in deployment.documents.items() if k.startswith("numbers/t/")]
    sizes = [len(configuration.decode(chunk, dict[str, Destination])) for chunk in chunks]
    assert sizes == [2000, 2000, 1000]
    assert max(map(len, chunks)) < 512 * 1024


CHANGES = {
    "a user": ("name: Ben Cole", "name: Ben Kohl"),
    "a number": ('"+493012345671": {extension: "2001"}', '"+493012345671": {extension: "2002"}'),
    "a ring group": ("timeout: 25s", "timeout: 20s"),
    "a trunk": ("channels: 30 ", "channels: 40 "),
    "a route": ('match: ["+49*"]', 'match: ["+49*", "+43*"]'),
    "a tenant": ("language: en", "language: de"),
    "a limit": ("engine: local ", "max_calls: 50 "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_live_changes_leave_every_job_as_it_is(change: str) -> None:
    text = (EXAMPLES / "one-host.yaml").read_text()
    out, into = CHANGES[change]
    assert text.count(out) == 1
    before, after = compiled(text), compiled(text.replace(out, into))
    assert after.jobs == before.jobs
    assert after.spec_hash != before.spec_hash


def test_another_server_leaves_the_jobs_that_are_there_as_they_are() -> None:
    text = (EXAMPLES / "one-host.yaml").read_text()
    line = "  - {name: media2, address: 127.0.0.12, roles: [media], capacity: {calls: 100}}\n"
    assert line in text
    third = line.replace("media2", "media3").replace("127.0.0.12", "127.0.0.13")
    before, after = compiled(text), compiled(text.replace(line, line + third))
    assert [job for job in after.jobs if job.server != "media3"] == list(before.jobs)


@pytest.mark.parametrize(
    ("address", "control"),
    [("127.0.0.11", "127.0.0.11"), ("192.0.2.7", "127.0.2.7"), ("2001:db8::11:2", "127.17.0.2")],
)
def test_rtpengine_takes_commands_where_no_phone_can_send_them(address: str, control: str) -> None:
    text = (EXAMPLES / "one-host.yaml").read_text().replace("127.0.0.11", address)
    media1 = next(job for job in compiled(text).jobs if job.server == "media1")
    assert media1.variables["control_address"] == control


def test_comments_order_and_defaults_change_nothing() -> None:
    text = (EXAMPLES / "multi-tenant.yaml").read_text()
    bare = re.sub(r"(?m)\s*#.*$", "", text).replace("cluster: multi-tenant\n", "")
    other = bare + "\ncluster: multi-tenant\n"
    assert compiled(other) == compiled(text)


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_mappings_in_any_order_compile_alike(chance: random.Random) -> None:
    """Trunks, tenants' groups and numbers are mappings: their order in the spec means nothing."""
    trunks = [f"carrier-{n}: {{peer: 'sip:192.0.2.{n}'}}" for n in range(1, 6)]
    numbers = [f"'+4930{n:04}': {{ring_group: g{n % 3}}}" for n in range(6)]
    groups = [f"g{n}: {{members: ['2001']}}" for n in range(3)]
    tenants = [f"{{name: t{n}, domains: [t{n}.example]}}" for n in range(3)]

    def spec() -> str:
        return (
            "cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [media, call-manager]}]\n"
            f"trunks: {{{', '.join(trunks)}}}\n"
            "tenants: [{name: t, domains: [t.example], users: [{extension: '2001'}],"
            f" numbers: {{{', '.join(numbers)}}}, ring_groups: {{{', '.join(groups)}}}}},"
            f" {', '.join(tenants)}]\n"
        )

    first = compiled(spec())
    for part in (trunks, numbers, groups, tenants):
        chance.shuffle(part)
    again = compiled(spec())
    assert again == first
    assert list(again.documents) == list(first.documents)
