"""Programs that configure the kernel: short, checked, with their own words when they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

PATIENCE = 120.0


def command(*words: str, text: str = "") -> str:
    """Run a program; its output. Raises RuntimeError with what it said."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise RuntimeError(f"{' '.join(words)}: {said}\n{text}".rstrip())
    return done.stdout


def ip(*lines: str, namespace: str = "") -> None:
    """Commands of iproute2's ``ip``, in one process."""
    inside: Sequence[str] = ("-n", namespace) if namespace else ()
    command("ip", *inside, "-batch", "-", text="\n".join(lines) + "\n")
