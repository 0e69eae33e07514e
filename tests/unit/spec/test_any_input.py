"""Whatever a file holds: a spec, or a SpecError that says where; never anything else."""

from __future__ import annotations

import copy
import io
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pbxctl.compile import Installation, compile_spec
from pbxctl.spec import Loaded, SpecError, load_bytes
from pbxctl.spec.users import read_users
from services.core import configuration
from services.core.configuration import Cluster, Destination, Route, Tenant, Trunk
from services.core.menus import Hours, Menu

KINDS: dict[str, Any] = {
    "cluster": Cluster,
    "routes": list[Route],
    "trunks": Trunk,
    "tenants": Tenant,
    "numbers": dict[str, Destination],
    "menus": Menu,
    "hours": Hours,
}
WHERE = Installation(prefix=Path("/opt/pbx"), state_dir=Path("/var/lib/pbx"), release="1.0.0")
ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "multi-tenant.yaml"
ENVIRONMENT = {
    name: f"value of {name}"
    for name in (
        "CARRIER_A_PASSWORD",
        "CARRIER_B_PASSWORD",
        "SMTP_PASSWORD",
        "ANNA_PASSWORD",
        "BEN_PASSWORD",
    )
}
# Loading takes some milliseconds and the machine may be busy: no deadline for one example.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(data: bytes, directory: Path = EXAMPLE.parent) -> Loaded | SpecError:
    """What loading gives; anything but a spec or a SpecError fails the test by being raised.

    A spec that loads compiles too, and to documents that roles can read.
    """
    try:
        loaded = load_bytes("x.yaml", data, directory, ENVIRONMENT)
    except SpecError as error:
        judge(error, data.decode("utf-8", "replace").count("\n") + 1)
        return error
    deployment = compile_spec(loaded.spec, WHERE)
    for key, document in deployment.documents.items():
        configuration.decode(document, KINDS[key.partition("/")[0]])
    return loaded


def judge(error: SpecError, lines: int) -> None:
    """Each problem says something, on one line, about a place inside the file."""
    assert error.errors
    for problem in error.problems:
        assert problem.text
        assert str(problem).startswith(problem.file)
        assert "\n" not in str(problem)
        if problem.file == "x.yaml":
            assert 0 <= problem.line <= lines + 1


yamlish = st.lists(
    st.sampled_from(
        [
            *("cluster", "servers", "tenants", "name", "users", "2001", "x", "no", "0123", "1:30"),
            *(
                ": ",
                ":",
                "- ",
                "\n",
                "\n  ",
                "\n    ",
                "\t",
                " ",
                "{",
                "}",
                "[",
                "]",
                ",",
                '"',
                "'",
            ),
            *(
                "&a ",
                "*a",
                "<<: ",
                "!x ",
                "!!str ",
                "|\n",
                ">-\n",
                "#",
                "---\n",
                "...",
                "%YAML 1.1\n",
            ),
            *(
                "\0",
                "\ufeff",
                "é",
                "\x85",
                "\u2028",
                "%TAG ! x\n",
                "? ",
                "~",
                "null",
                "@",
                "`",
                "1e9",
            ),
        ]
    ),
    max_size=60,
).map("".join)


@relaxed
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    outcome(data)


@settings(relaxed, max_examples=400)
@given(yamlish)
@example("&a [*a]")
@example("a: &a {b: *a}")
@example("[" * 5000)
@example("- " * 5000)
@example("a: " * 500)
@example("{" * 3000 + "}" * 3000)
@example("%YAML 99999999999999999999.1\n---\na: 1")
@example("? [a, b]\n: c")
@example("? {a: b}\n: c")
@example("a: !!python/object/apply:os.system [id]")
@example("a: 2001-01-01\nb: 1e999\nc: .nan\nd: 0x1F\ne: -.inf\nf: 99999999999999999999999999999999")
@example("<<: {cluster: x}")
@example("<<: [1]")
@example("cluster: 'a")
@example("cluster: |")
@example("!<tag:yaml.org,2002:str> a")
def test_anything_like_yaml(text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"))


def plain_example() -> dict[str, Any]:
    """The example as plain values."""
    return YAML(typ="safe", pure=True).load(EXAMPLE.read_text())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 70000)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "2001", "9999", "acme", "carrier-a", "+4930123", "10.0.0.1", "::1", "30s"]
    )
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a tree of plain values."""
    found = [path] if path else []
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, below in pairs:
        found += places(below, (*path, step))
    return found


@settings(relaxed, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from("srdx"), values), min_size=1, max_size=4
    )
)
def test_any_change_of_a_good_spec(changes: list[tuple[int, str, Any]]) -> None:
    """Set, remove, double and rename parts of the example: it loads or says where it is wrong."""
    spec = copy.deepcopy(plain_example())
    for number, how, value in changes:
        every = places(spec)
        *above, last = every[number % len(every)]
        target: Any = spec
        for step in above:
            target = target[step]
        if how == "s":
            target[last] = value
        elif how == "r":
            del target[last]
        elif isinstance(target, list):
            target.append(copy.deepcopy(target[last]))
        elif how == "d":
            target[f"{last}x"] = copy.deepcopy(target[last])
        else:
            target[str(value)[:20]] = target.pop(last)
        if not places(spec):
            break
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(spec, stream)
    outcome(stream.getvalue().encode("utf-8", "surrogatepass"))


@settings(relaxed, max_examples=200)
@given(st.integers(0), st.integers(1, 6))
def test_any_damage_to_the_text_of_a_good_spec(seed: int, count: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # not for secrets
    text = list(EXAMPLE.read_text())
    for _ in range(count):
        at = chance.randrange(len(text))
        text[at] = chance.choice(
            ["", "\t", ":", "{", '"', "\n", "-", "*", "x", "  ", "\u200b", "#"]
        )
    outcome("".join(text).encode())


@relaxed
@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass"))
)
@example(b'extension\n"2001')
@example(b'extension;name\n2001;"a\nb"\n')
@example(b"extension\r\n2001\r\n\r\n")
@example(b"extension\n" + b"1" * 200_000)
def test_any_users_file(data: bytes) -> None:
    found = read_users("users.csv", b"extension,name\n" + data, "acme", "acme.example")
    assert len(found.users) == len(found.lines)
    found = read_users("users.csv", data, "acme", "acme.example")
    assert len(found.users) == len(found.lines)
    assert all(problem.file == "users.csv" for problem in found.problems)


def test_aliases_that_grow_without_end_are_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    with pytest.raises(SpecError, match="aliases that grow without end"):
        load_bytes("x.yaml", bomb.encode(), EXAMPLE.parent, {})
