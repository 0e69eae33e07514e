"""A configuration is taken whole or not at all, in whatever order its documents arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.assembly import assemble
from services.core.assembly import MANIFEST, SHOWN
from services.core.configuration import (
    Cluster,
    Destination,
    Manifest,
    Route,
    RouteTrunk,
    Tenant,
    Trunk,
    digest,
    encode,
)

DOCUMENTS = {
    "cluster": encode(Cluster(name="test", max_calls=7)),
    "routes": encode([Route(name="all", match=("*",), trunks=(RouteTrunk(trunk="a"),))]),
    "tenants/acme": encode(Tenant(name="acme", domains=("acme.example",))),
    "tenants/beta": encode(Tenant(name="beta", domains=("beta.example",))),
    "trunks/a": encode(Trunk(name="a", host="a.example")),
    "numbers/acme/0": encode({"+4930123": Destination(kind="extension", target="2001")}),
    "numbers/beta/0": encode({"+4940123": Destination(kind="ring_group", target="all")}),
    "voicemail/acme": b'{"another": "role"}',
}


def manifest(documents: dict[str, bytes]) -> bytes:
    digests = {name: digest(raw) for name, raw in documents.items()}
    return encode(Manifest(spec_hash="h", release="1", documents=digests))


WHOLE = DOCUMENTS | {MANIFEST: manifest(DOCUMENTS)}


def test_the_whole_is_a_picture() -> None:
    found = assemble(WHOLE)
    assert found.problems == ()
    assert found.manifest_digest == digest(WHOLE[MANIFEST])
    picture = found.picture
    assert picture is not None
    assert picture.cluster.max_calls == 7
    assert [tenant.name for tenant in picture.tenants] == ["acme", "beta"]
    assert [trunk.host for trunk in picture.trunks] == ["a.example"]
    assert picture.numbers["+4940123"].tenant == "beta"
    assert picture.routes[0].name == "all"


def test_nothing_applied_yet() -> None:
    found = assemble({})
    assert found.picture is None
    assert found.problems == ("no configuration has been applied yet",)


def test_documents_that_the_manifest_does_not_name_do_not_count() -> None:
    extra = {"tenants/old": encode(Tenant(name="old", domains=("old.example",))), "x": b"\xff"}
    picture = assemble(WHOLE | extra).picture
    assert picture is not None
    assert [tenant.name for tenant in picture.tenants] == ["acme", "beta"]


@given(order=st.permutations(sorted(WHOLE)))
def test_any_order_of_arrival_ends_at_the_same_picture(order: list[str]) -> None:
    there: dict[str, bytes] = {}
    for name in order[:-1]:
        there[name] = WHOLE[name]
        # What does not count may be missing: the picture is whole without it.
        if not all(there.get(key) == raw for key, raw in WHOLE.items()):
            assert assemble(there).picture is None
    there[order[-1]] = WHOLE[order[-1]]
    assert assemble(there) == assemble(WHOLE)


@given(gone=st.sets(st.sampled_from(sorted(DOCUMENTS)), min_size=1))
def test_what_is_missing_is_named(gone: set[str]) -> None:
    found = assemble({name: raw for name, raw in WHOLE.items() if name not in gone})
    assert found.picture is None
    assert [text.partition(":")[0] for text in found.problems] == sorted(gone)


@given(stale=st.sets(st.sampled_from(sorted(DOCUMENTS)), min_size=1))
def test_a_document_of_another_version_is_named(stale: set[str]) -> None:
    found = assemble({name: raw + b" " * (name in stale) for name, raw in WHOLE.items()})
    assert found.picture is None
    assert [text.partition(":")[0] for text in found.problems] == sorted(stale)
    assert "not the version" in found.problems[0]


def test_what_cannot_be_read_is_named_with_its_field() -> None:
    broken = DOCUMENTS | {"tenants/acme": b'{"name":"acme","domains":7}', "routes": b"["}
    found = assemble(broken | {MANIFEST: manifest(broken)})
    assert found.picture is None
    assert len(found.problems) == 2
    assert any("tenants/acme: " in text and "domains" in text for text in found.problems)


def test_an_unreadable_manifest() -> None:
    found = assemble({MANIFEST: b"{}"})
    assert found.picture is None
    assert "spec_hash" in found.problems[0]


def test_a_manifest_without_a_cluster() -> None:
    rest = {"tenants/acme": DOCUMENTS["tenants/acme"]}
    assert assemble(rest | {MANIFEST: manifest(rest)}).problems == (
        "cluster: the manifest does not name it",
    )


def test_a_thousand_missing_documents_are_told_briefly() -> None:
    many = {f"numbers/acme/{number}": b"{}" for number in range(1000)}
    found = assemble({MANIFEST: manifest(many)})
    assert len(found.problems) == SHOWN + 1
    assert found.problems[-1] == "and 990 more"


@given(
    st.dictionaries(
        st.sampled_from([*WHOLE, "tenants", "numbers/a", "", "/"]), st.binary(max_size=60)
    )
)
def test_rubbish_is_a_problem_and_no_exception(documents: dict[str, bytes]) -> None:
    assert assemble(documents).picture is None
