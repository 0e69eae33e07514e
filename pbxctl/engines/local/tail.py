"""The last lines of a rotated log."""

from __future__ import annotations

from pathlib import Path

BLOCK = 64 * 1024


def tail(path: Path, lines: int) -> str:
    """The last ``lines`` lines of ``path`` and, as far as needed, of ``path.1`` and so on.

    Empty if there is no log yet. What is no UTF-8 is replaced. Raises OSError.
    """
    text = b""
    number = 0
    while lines > 0 and text.count(b"\n") <= lines:
        file = path.with_name(f"{path.name}.{number}") if number else path
        try:
            text = _end(file, lines) + text
        except FileNotFoundError:
            # At the moment of a rotation the newest is missing, and older ones are there.
            if number:
                break
        number += 1
    wanted = text.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return b"".join(wanted).decode("utf-8", "replace")


def _end(path: Path, lines: int) -> bytes:
    with path.open("rb") as file:
        at = file.seek(0, 2)
        text = b""
        while at > 0 and text.count(b"\n") <= lines:
            size = min(BLOCK, at)
            at -= size
            file.seek(at)
            text = file.read(size) + text
    return text
