"""Whether this Call Manager does its job: a SIP transaction through routing, and a row written."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import trio

from services.call_manager.options import OptionsError, options
from services.call_manager.settings import CallManagerSettings
from services.core.admin import Health
from services.core.store import Database, StoreError

LATE = 4.0
"""Seconds after which the last good transaction counts no more."""


class Checks(msgspec.Struct, kw_only=True):
    """The last results. Times are monotonic seconds, ``took`` is in seconds."""

    sip_at: float = float("-inf")
    took: float = 0.0
    sip_problem: str = "not checked yet"
    database_problem: str = "not checked yet"


async def check_sip(settings: CallManagerSettings, checks: Checks) -> None:
    """One OPTIONS to our own Kamailio. Its answer of 200 is routing's, not the core's."""
    began = trio.current_time()
    try:
        status = await options(settings.address, settings.sip_port, source=settings.address)
    except OptionsError as error:
        checks.sip_problem = f"SIP OPTIONS: {error}"
        return
    now = trio.current_time()
    if status != 200:
        checks.sip_problem = f"SIP OPTIONS: answered {status}"
        return
    checks.sip_at, checks.took, checks.sip_problem = now, now - began, ""


async def check_database(database: Database, checks: Checks) -> None:
    """One row written."""
    try:
        await trio.to_thread.run_sync(database.check, abandon_on_cancel=True)
    except StoreError as error:
        checks.database_problem = str(error)
    else:
        checks.database_problem = ""


def judge(checks: Checks, problems: Iterable[str], now: float, *, note: str = "") -> Health:
    """Critical if Kamailio does not answer; whatever else is wrong, calls go on: a warning.

    ``problems`` are what others found, ``note`` what people should see beside the figure.
    """
    wrong = [text for text in (checks.database_problem, *problems) if text]
    if now > checks.sip_at + LATE:
        return Health("critical", checks.sip_problem or "SIP OPTIONS: no check since long", wrong)
    output = f"SIP OPTIONS {max(1, round(checks.took * 1000))} ms" + (f", {note}" if note else "")
    return Health("warning" if wrong else "passing", output, wrong)
