"""Files that a spec refers to, relative to it."""

from __future__ import annotations

from pbxctl.spec.draft import Inputs, Report
from pbxctl.spec.problems import Path, printable


def read_file(
    name: str, most: int, path: Path, inputs: Inputs, report: Report, what: str = ""
) -> bytes | None:
    """A file's bytes; None, and a problem at ``path``, if it cannot be read or is too long.

    ``most`` in bytes; ``what`` is what was expected, for the message.
    """
    shown = printable(name)
    try:
        with (inputs.directory / name).open("rb") as stream:
            data = stream.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        report.add(path, f"cannot read {shown}: {reason}")
        return None
    if len(data) > most:
        size = f"{most >> 20} MiB" if most >> 20 else f"{most} bytes"
        report.add(path, f"{shown} is longer than {size}" + (f"; expected {what}" if what else ""))
        return None
    return data
