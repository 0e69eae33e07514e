"""Bad specs and what is said of them: the files ``bad/*.txt``.

A case is a title (``# …``), what to do to ``base.yaml``, and the expected messages::

    # a title
    - text of base.yaml that is taken out
    + text that is put in its place
    > line:column: path: message

Lines ``| …`` instead are a whole file; ``users| …`` are the lines of users.csv. In either ``\\t``,
``\\0`` and ``\\xff`` stand for those bytes. ``python -m tests.unit.spec.golden`` writes the
messages anew; read the difference before you keep it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pbxctl.spec import Problem, SpecError, load

BAD = Path(__file__).parent / "bad"
ENVIRONMENT = {"TRUNK": "trunk-secret", "ANNA": "anna-secret", "EMPTY": "", "LINES": "a\nb"}


class Case(msgspec.Struct, kw_only=True):
    """``changes`` are (out, in) pairs; ``whole`` and ``users`` replace the base's files."""

    title: str
    changes: list[tuple[str, str]] = []
    whole: list[str] = []
    users: list[str] = []
    expected: list[str] = []
    source: list[str] = []


def cases(file: Path) -> Iterator[Case]:
    """The cases of one golden file."""
    case: Case | None = None
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            if case:
                yield case
            case = Case(title=line[2:])
        assert case, f"{file.name}: a case begins with its title"
        mark, _, rest = line.partition(" ")
        if mark == "-":
            case.changes.append((rest, ""))
        elif mark == "+":
            case.changes[-1] = (case.changes[-1][0], rest)
        elif mark == "|":
            case.whole.append(rest)
        elif mark == "users|":
            case.users.append(rest)
        elif mark == ">":
            case.expected.append(rest)
            continue
        if line.strip():
            case.source.append(line)
    if case:
        yield case


def messages(case: Case, directory: Path) -> list[str]:
    """What is said of a case's spec, problems and warnings, without the directory."""
    text = (BAD / "base.yaml").read_text()
    for out, into in case.changes:
        assert text.count(out) == 1, (
            f"{case.title}: {out!r} is {text.count(out)} times in base.yaml"
        )
        text = text.replace(out, into)
    data = text.encode()
    if case.whole:
        data = _bytes(case.whole)
    spec = directory / "spec.yaml"
    spec.write_bytes(data)
    users = _bytes(case.users) if case.users else (BAD / "users.csv").read_bytes()
    (directory / "users.csv").write_bytes(users)
    problems: tuple[Problem, ...]
    try:
        problems = load(spec, ENVIRONMENT).warnings
    except SpecError as error:
        problems = error.problems
    return [_shown(problem, directory) for problem in problems]


def _shown(problem: Problem, directory: Path) -> str:
    text = str(problem).replace(f"{directory}/", "")
    return text.removeprefix("spec.yaml:")


def _bytes(lines: list[str]) -> bytes:
    text = "".join(f"{line}\n" for line in lines)
    for written, meant in (("\\t", "\t"), ("\\0", "\0"), ("\\e", "")):
        text = text.replace(written, meant)
    data = text.encode()
    return data.replace(b"\\xff", b"\xff").replace(b"\\xef\\xbb\\xbf", b"\xef\xbb\xbf")


def main() -> None:
    """Write what is said today into the golden files."""
    for file in sorted(BAD.glob("*.txt")):
        parts: list[str] = []
        for case in cases(file):
            with tempfile.TemporaryDirectory() as directory:
                said = messages(case, Path(directory))
            parts.append("\n".join([*case.source, *(f"> {line}" for line in said)]))
        file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
