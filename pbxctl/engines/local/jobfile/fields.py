"""A block's attributes and blocks, taken one by one; what nobody took is refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from pbxctl.engines.local import durations
from pbxctl.engines.local.jobfile.errors import JobFileError, Place
from pbxctl.engines.local.jobfile.expressions import Evaluator, Scalar, text_value
from pbxctl.engines.local.jobfile.syntax import Attribute, Block

D = TypeVar("D")


class Fields:
    """Every method raises JobFileError at the place of what is wrong."""

    def __init__(self, block: Block, evaluator: Evaluator) -> None:
        self.block = block
        self.evaluator = evaluator
        self._attributes = dict(block.attributes)
        self._blocks = list(block.blocks)

    def label(self) -> str:
        """The block's only label."""
        if len(self.block.labels) != 1:
            raise JobFileError(self.block.place, f"{self.block.kind} needs one name")
        return self.block.labels[0]

    def place(self, name: str) -> Place:
        """Where an attribute is, or the block if it is not there."""
        attribute = self.block.attributes.get(name)
        return attribute.place if attribute else self.block.place

    def raw(self, name: str) -> Attribute | None:
        """An attribute with its expression as it stands."""
        return self._attributes.pop(name, None)

    def scalar(self, name: str, default: D) -> Scalar | D:
        """An attribute's value, not a list."""
        attribute = self.raw(name)
        if attribute is None:
            return default
        value = self.evaluator.value(attribute.expression)
        if isinstance(value, list):
            raise JobFileError(attribute.place, f"{name} must not be a list")
        return value

    def text(self, name: str, default: D) -> str | D:
        """An attribute as text; numbers and truth values become text as in HCL."""
        value = self.scalar(name, default)
        return text_value(value) if isinstance(value, int | float) else value

    def needed(self, name: str) -> str:
        """An attribute that must be there and not be empty."""
        value = self.text(name, "")
        if not value:
            raise JobFileError(self.place(name), f"{self.block.kind} needs {name}")
        return value

    def number(self, name: str, default: int, *, least: int = 0) -> int:
        """A whole number."""
        value = self.scalar(name, default)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise JobFileError(
                self.place(name), f"{name} must be a whole number from {least}, not {value!r}"
            )
        return value

    def truth(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self.scalar(name, default)
        if not isinstance(value, bool):
            raise JobFileError(self.place(name), f"{name} must be true or false, not {value!r}")
        return value

    def seconds(self, name: str, default: float) -> float:
        """A duration."""
        value = self.text(name, "")
        if not value:
            return default
        try:
            return durations.seconds(value)
        except ValueError as error:
            raise JobFileError(self.place(name), f"{name}: {error}") from None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty if it is not there."""
        attribute = self.raw(name)
        if attribute is None:
            return ()
        value = self.evaluator.value(attribute.expression)
        if not isinstance(value, list):
            raise JobFileError(attribute.place, f"{name} must be a list")
        return tuple(text_value(each) for each in value)

    def choice(self, name: str, default: str, allowed: Collection[str]) -> str:
        """One of these words."""
        value = self.text(name, default)
        if value not in allowed:
            known = " or ".join(sorted(allowed))
            raise JobFileError(
                self.place(name), f'the local engine has no {name} "{value}": it has {known}'
            )
        return value

    def every(self, kind: str) -> list[Block]:
        """All blocks of a kind."""
        found = [block for block in self._blocks if block.kind == kind]
        self._blocks = [block for block in self._blocks if block.kind != kind]
        return found

    def one(self, kind: str) -> Fields | None:
        """The block of a kind, of which there may be one."""
        found = self.every(kind)
        if len(found) > 1:
            raise JobFileError(found[1].place, f"a second {kind} in {self._here()}")
        return Fields(found[0], self.evaluator) if found else None

    def mapping(self, kind: str) -> dict[str, str]:
        """A block of names and texts, like ``meta`` and ``env``; empty if it is not there."""
        fields = self.one(kind)
        if fields is None:
            return {}
        found = {name: str(fields.text(name, "")) for name in fields.block.attributes}
        fields.end()
        return found

    def end(self) -> None:
        """Refuse what is left."""
        left = [*self._attributes.values(), *self._blocks]
        if left:
            first = min(left, key=lambda each: each.place.line)
            name = first.name if isinstance(first, Attribute) else first.kind
            raise JobFileError(
                first.place, f"the local engine does not know {name} in {self._here()}"
            )

    def _here(self) -> str:
        return self.block.kind or "a job file"
