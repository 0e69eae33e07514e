"""One event, one line."""

from __future__ import annotations

import logging
import sys


class OneLine(logging.Formatter):
    """Level, where from, what; a traceback on the same line, its lines parted by ``|``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        return super().format(record).replace("\n", " | ")


def configure() -> None:
    """Log to stderr, which the engine keeps; it adds the time."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[out], force=True)
    for chatty in ("httpx", "httpcore", "alembic", "hypercorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
