"""Secrets: a spec says where they are, and they are read when it is loaded."""

from __future__ import annotations

from typing import Any

from pbxctl.spec.draft import Inputs, Missing, Report
from pbxctl.spec.files import read_file
from pbxctl.spec.model import Secret
from pbxctl.spec.problems import Path, printable, suggestion

MAX_BYTES = 4096


def resolve(value: dict[str, Any], path: Path, inputs: Inputs, report: Report) -> Secret:
    """The secret that ``{env: NAME}`` or ``{file: path}`` names. Reports and raises Missing."""
    text = ""
    if "env" in value:
        text = _environment(str(value["env"]), (*path, "env"), inputs, report)
    elif "file" in value:
        text = _file(str(value["file"]), (*path, "file"), inputs, report)
    if not text:
        raise Missing
    return Secret(text)


def _environment(name: str, path: Path, inputs: Inputs, report: Report) -> str:
    text = inputs.environment.get(name)
    if text is None:
        near = suggestion(name, inputs.environment)
        report.add(path, f"environment variable {name} is not set{near}")
    elif not text:
        report.add(path, f"environment variable {name} is empty")
    elif (wrong := _wrong(text)) is not None:
        report.add(path, f"environment variable {name} {wrong}")
        return ""
    return text or ""


def _file(name: str, path: Path, inputs: Inputs, report: Report) -> str:
    shown = printable(name)
    data = read_file(name, MAX_BYTES, path, inputs, report, "one secret")
    if data is None:
        return ""
    try:
        text = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        report.add(path, f"{shown} is not UTF-8 text")
        return ""
    wrong = "is empty" if not text else _wrong(text)
    if wrong is not None:
        report.add(path, f"{shown} {wrong}")
        return ""
    return text


def _wrong(text: str) -> str | None:
    if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes; expected one secret"
    if "\n" in text or "\r" in text:
        return "has more than one line; expected one secret"
    if "\0" in text or any("\udc80" <= c <= "\udcff" for c in text):
        return "is not UTF-8 text"
    return None
