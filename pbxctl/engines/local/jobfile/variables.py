"""Variables: what a job file declares and what the deployment gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pbxctl.engines.local.jobfile.errors import JobFileError, Place
from pbxctl.engines.local.jobfile.expressions import Evaluator, Scalar
from pbxctl.engines.local.jobfile.fields import Fields
from pbxctl.engines.local.jobfile.syntax import Attribute, Block, text_of

TYPES: dict[str, tuple[type[Scalar], ...]] = {
    "string": (str,),
    "number": (int, float),
    "bool": (bool,),
}


def values(blocks: Iterable[Block], given: Mapping[str, Scalar], file: str) -> dict[str, Scalar]:
    """Every declared variable's value. Raises JobFileError naming the variable and the file."""
    found: dict[str, Scalar] = {}
    declared: dict[str, Place] = {}
    for block in blocks:
        name, kind, default = _declaration(block, file)
        if name in declared:
            first = declared[name].line
            raise JobFileError(block.place, f"variable {name} is declared twice, first in {first}")
        declared[name] = block.place
        value = given.get(name, default)
        if value is None:
            raise JobFileError(
                block.place, f"variable {name} has no value: it has no default and none was given"
            )
        if not _is(value, kind):
            origin = "was given" if name in given else "has the default"
            raise JobFileError(
                block.place, f"variable {name} must be a {kind}, and {origin} {value!r}"
            )
        found[name] = value
    for name in given:
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise JobFileError(
                Place(file), f"a value was given for variable {name}; declared are: {known}"
            )
    return found


def _declaration(block: Block, file: str) -> tuple[str, str, Scalar | None]:
    fields = Fields(block, Evaluator(file, {}))
    name = fields.label()
    kind = _type(fields.raw("type"), block)
    default = fields.scalar("default", None)
    fields.text("description", "")
    fields.end()
    return name, kind, default


def _type(attribute: Attribute | None, block: Block) -> str:
    kind = text_of(attribute.expression) if attribute else "string"
    if kind not in TYPES:
        raise JobFileError(
            attribute.place if attribute else block.place,
            f"the local engine has no variables of type {kind}: it has {', '.join(TYPES)}",
        )
    return kind


def _is(value: Scalar, kind: str) -> bool:
    # In Python a bool is an int; in HCL it is no number.
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, TYPES[kind])
