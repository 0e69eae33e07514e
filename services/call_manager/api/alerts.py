"""What has failed, and the mails about it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from services.call_manager.alerts.incidents import Incident as Record
from services.call_manager.alerts.outbox import Mail as Letter
from services.call_manager.alerts.wording import name_of
from services.call_manager.parts import Parts
from services.core.admin import Problem, authorized_router
from services.core.mail import MailError


class Incident(BaseModel):
    """One failure. Times are Unix times; ``ended`` is 0 while it goes on.

    ``failures``: how often it failed of late; ``mailed``: a mail about it was made.
    """

    key: str
    name: str
    since: float
    reason: str
    ended: float
    end: Literal["", "well", "left", "switched"]
    failures: int
    flapping: bool
    mailed: bool


class Mail(BaseModel):
    """``sent`` is 0 while it was not; then ``problem`` says why, if it was tried."""

    id: str
    subject: str
    made: float
    sent: float
    attempts: int
    problem: str
    given_up: bool


class Alerts(BaseModel):
    """Those of the last day; ``recipients`` are who is mailed."""

    recipients: list[str]
    incidents: list[Incident]
    mails: list[Mail]


class Tested(BaseModel):
    """``refused``: why, by recipient that the mail server did not take."""

    server: str
    recipients: list[str]
    refused: dict[str, str]


def router(parts: Parts) -> APIRouter:
    """``/v1/alerts``."""
    routes = authorized_router(tags=["cluster"])
    alerts = parts.alerts

    @routes.get("/v1/alerts")
    async def list_alerts() -> Alerts:  # pyright: ignore[reportUnusedFunction]
        """What fails now or has failed within a day, oldest first."""
        found = await alerts.standing()
        return Alerts(
            recipients=alerts.recipients,
            incidents=[_incident(one) for one in found.incidents],
            mails=[_mail(one) for one in found.mails],
        )

    @routes.post("/v1/alerts/test", responses={409: {"model": Problem}})
    async def test_alerts() -> Tested:  # pyright: ignore[reportUnusedFunction]
        """Send a test mail now, from here; 409 says why that did not work."""
        try:
            refused = await alerts.test()
        except MailError as error:
            raise HTTPException(409, str(error)) from None
        return Tested(server=parts.settings.server, recipients=alerts.recipients, refused=refused)

    return routes


def _incident(one: Record) -> Incident:
    return Incident(
        key=one.key,
        name=name_of(one.key),
        since=one.since,
        reason=one.reason,
        ended=one.ended,
        end=one.end,
        failures=len(one.failures),
        flapping=one.flapping,
        mailed=one.told,
    )


def _mail(one: Letter) -> Mail:
    return Mail(
        id=one.id,
        subject=one.subject,
        made=one.made,
        sent=one.sent,
        attempts=one.attempts,
        problem=one.problem,
        given_up=one.given_up,
    )
