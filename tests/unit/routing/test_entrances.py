"""routes.cfg beside the Python that it stands before: what both say must be the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from services.call_manager.routing import identity, launch

ROUTES = (launch.HERE / "routes.cfg").read_text()


def names(file: str, kind: type[ast.FunctionDef]) -> set[str]:
    tree = ast.parse((launch.HERE / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, kind)}


def assigned(file: str, name: str) -> int:
    """The value of a module's constant; the module itself needs Kamailio."""
    source = Path(launch.HERE / file).read_text()
    expression = re.search(rf"^{name} = ([0-9 |]+)$", source, re.MULTILINE)
    assert expression
    value = 0
    for bit in expression[1].split("|"):
        value |= int(bit)
    return value


def test_every_entrance_is_there() -> None:
    entered = set(re.findall(r'python_exec\("(\w+)"', ROUTES))
    assert entered == {
        name for name in names("kamailio.py", ast.FunctionDef) if name.startswith("ksr_")
    }


def test_the_short_cut_lets_no_claim_through() -> None:
    removed = set(re.findall(r'remove_hf\("([\w-]+)"\)', ROUTES))
    refused = set(re.findall(r"\$hdr\(([\w-]+)\) != \$null", ROUTES))
    assert removed | refused == set(identity.STRIPPED)


def test_the_short_cut_asks_for_the_same_sanity() -> None:
    bits = assigned("kamailio_edge.py", "SANITY"), assigned("kamailio_edge.py", "SANITY_URIS")
    assert re.findall(r'sanity_check\("(\d+)", "(\d+)"\)', ROUTES) == [tuple(map(str, bits))]
