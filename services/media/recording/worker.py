"""The process that converts, apart from the agent: sound takes time and FFmpeg could crash.

``python -m services.media.recording.worker`` reads a `Work` a line and answers a `Done` a line.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec

from services.media.recording.conversion import Result, SilentError, UnreadableError, Work, convert
from services.media.recording.pcap import PcapError

NICE = 10
"""Calls come first."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a capture, and why.

    ``silent``: nobody has sent any sound. ``unreadable``: there is something that nobody can
    convert. ``later``: the disk would not have it now. ``died``: the process ended over it.
    """

    outcome: Literal["converted", "silent", "unreadable", "later", "died"]
    result: Result | None = None
    problem: str = ""


def answer(line: bytes) -> Done:
    """Convert what the line asks for."""
    work = msgspec.json.decode(line, type=Work)
    try:
        return Done(outcome="converted", result=convert(work))
    except SilentError as error:
        return Done(outcome="silent", problem=str(error))
    except (UnreadableError, PcapError) as error:
        return Done(outcome="unreadable", problem=str(error))
    except OSError as error:
        return Done(outcome="later", problem=f"{error.filename or work.wav}: {error.strerror}")


def main() -> None:
    """Works until its standard input ends."""
    os.nice(NICE)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(msgspec.json.encode(answer(line)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
