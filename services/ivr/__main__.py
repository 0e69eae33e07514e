"""``pbx-ivr``: the one task of the IVR role."""

from __future__ import annotations

import logging
import sys

import trio

from services.core.audio import AudioError
from services.core.settings import SettingsError, from_environment
from services.ivr.service import Ivr
from services.ivr.settings import IvrSettings


def main() -> None:
    """Run the server; what stops it is one line on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    problems: list[str] = []
    try:
        trio.run(Ivr(from_environment(IvrSettings)).run)
    except* SettingsError as group:
        problems = [str(error) for error in group.exceptions]
    except* AudioError as group:
        problems = [f"audio: {error}" for error in group.exceptions]
    except* OSError as group:
        problems = [str(error) for error in group.exceptions]
    if problems:
        sys.exit(f"pbx-ivr: {'; '.join(problems)}")


if __name__ == "__main__":
    main()
