"""``python -m pbxctl.engines.local STATE_DIR PORT``: the engine. `LocalEngine.start` starts it.

It says one line of JSON on standard output: ``{}`` when it is ready, ``{"error": …}`` if it is not.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import msgspec

from pbxctl.engines.engine import EngineError
from pbxctl.engines.local.daemon import run
from pbxctl.engines.local.state_dir import StateDir


def _say(**answer: str) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
    # Who waited for this line goes away; what anyone prints later goes to the log.
    os.dup2(2, 1)


def main() -> int:
    """Run the engine until it is told to end."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    try:
        run(StateDir(Path(sys.argv[1])), int(sys.argv[2]), _say)
    except EngineError as error:
        _say(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
