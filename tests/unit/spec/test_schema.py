"""The schema itself: what it says of every field, and that the code agrees with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from pbxctl.spec import load_bytes, reference, schema
from pbxctl.spec.formats import checker
from pbxctl.spec.users import COLUMNS
from services.core.configuration import Alerts, Forward, Recording, RingGroup, Security, User

Schema = dict[str, Any]


def properties() -> Iterator[tuple[str, str, Schema, Schema]]:
    """Every property: whose, its name, its schema and the one it is in."""
    whole = schema()
    for owner, part in [("", whole), *cast("dict[str, Schema]", whole["$defs"]).items()]:
        for name, found in part.get("properties", {}).items():
            yield owner, name, found, part


EVERY = {f"{owner}.{name}": (found, part) for owner, name, found, part in properties()}


def validator(part: Schema) -> Any:
    return Draft202012Validator({"$defs": schema()["$defs"], **part}, format_checker=checker())


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", EVERY)
def test_every_field_is_described(name: str) -> None:
    found, part = EVERY[name]
    assert found["description"].endswith(".")
    assert found["examples"]
    field = name.rpartition(".")[2]
    one_of_several = part.get("maxProperties") == 1
    assert (field in part.get("required", [])) != ("default" in found) or one_of_several


@pytest.mark.parametrize("name", EVERY)
def test_examples_and_defaults_are_valid(name: str) -> None:
    found, _ = EVERY[name]
    values = list(found["examples"])
    if found.get("default") is not None:
        values.append(found["default"])
    for value in values:
        assert list(validator(found).iter_errors(value)) == []


def test_objects_take_no_unknown_fields() -> None:
    for part in [schema(), *schema()["$defs"].values()]:
        if "properties" in part:
            assert part["additionalProperties"] is False


def test_the_reference_is_up_to_date() -> None:
    """If not: python -m pbxctl.spec.reference."""
    assert Path(reference.TARGET).read_text(encoding="utf-8") == reference.reference()
    assert reference.main(["--check"]) == 0


def test_defaults_are_those_of_the_documents() -> None:
    """What the spec leaves out is what a role assumes where a document leaves it out."""
    loaded = load_bytes(
        "x.yaml",
        b"cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [call-manager, media]}]\n"
        b"trunks: {c: {peer: 'sip:c.example', register: {username: u, password: {env: P}}}}\n"
        b"tenants: [{name: t, domains: [t.example], users: [{extension: '20'}],"
        b" ring_groups: {g: {members: ['20']}}}]\n",
        Path(),
        {"P": "p"},
    ).spec
    assert loaded.security == Security()
    assert loaded.recording == Recording()
    assert loaded.alerts.email == Alerts().email
    tenant = loaded.tenants[0]
    assert tenant.users[0] == User(tenant="t", extension="20", forward=Forward())
    assert tenant.ring_groups["g"] == RingGroup(members=tenant.ring_groups["g"].members)


def test_defaults_are_those_of_the_schema() -> None:
    """The whole spec with every default written out loads to the same as without them."""
    text = (
        "cluster: x\nservers: [{name: a, address: 127.0.0.1, roles: [call-manager, media]SERVER}]\n"
        "tenants: [{name: t, domains: [t.example]TENANT}]\nREST"
    )

    def written(definition: Schema) -> str:
        given = {
            name: found["default"]
            for name, found in definition["properties"].items()
            if found.get("default") is not None and name not in ("servers", "tenants")
        }
        return "".join(f", {name}: {flow(value)}" for name, value in given.items())

    def flow(value: Any) -> str:
        import json

        return json.dumps(value)

    definitions = schema()["$defs"]
    rest = "".join(
        f"{name}: {{{written(definitions[name])[2:]}}}\n"
        for name in ("network", "security", "recording", "alerts")
    )
    full = text.replace("SERVER", written(definitions["server"])).replace(
        "TENANT", written(definitions["tenant"])
    )
    full = full.replace("REST", rest)
    bare = text.replace("SERVER", "").replace("TENANT", "").replace("REST", "")
    loaded = [load_bytes("x.yaml", each.encode(), Path(), {}).spec for each in (full, bare)]
    assert loaded[0] == loaded[1]


def test_a_users_file_has_the_fields_of_a_user() -> None:
    user = set(schema()["$defs"]["user"]["properties"]) - {"forward"}
    forward = {f"forward_{name}" for name in schema()["$defs"]["forward"]["properties"]}
    assert set(COLUMNS) == user | forward
    described = schema()["$defs"]["tenant"]["properties"]["users"]["description"]
    assert all(f"`{column}`" in described for column in COLUMNS)
