"""Patroni's REST API, as the agent uses it. Source: Patroni 3.0's documentation, "REST API"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
import trio

from services.database.patroni import REST_USER
from services.database.placement import Member, Members, Role
from services.database.settings import DatabaseSettings

DEADLINE = 2.0
"""Seconds for a question."""
SWITCHOVER = 30.0


class PatroniError(Exception):
    """Patroni did not answer, or refused; the message says which."""


class _Member(msgspec.Struct):
    name: str
    role: str
    state: str = ""
    timeline: int = 0
    lag: int | str | None = None


class _Cluster(msgspec.Struct):
    members: list[_Member]
    pause: bool = False
    scheduled_switchover: dict[str, Any] | None = None


_ROLES: dict[str, Role] = {
    "leader": "leader",
    "sync_standby": "sync_standby",
    "replica": "replica",
}


def members(body: bytes) -> Members:
    """The answer of ``GET /cluster``. Raises msgspec.DecodeError if it is not one."""
    found = msgspec.json.decode(body, type=_Cluster)
    return Members(
        members=tuple(
            Member(
                name=each.name,
                role=_ROLES.get(each.role, "other"),
                state=each.state,
                timeline=each.timeline,
                lag=each.lag if isinstance(each.lag, int) else None,
            )
            for each in found.members
        ),
        busy=found.pause or found.scheduled_switchover is not None,
    )


def differs(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``wanted`` that ``found`` does not say, as ``PATCH /config`` takes it."""
    changes: dict[str, Any] = {}
    for key, value in wanted.items():
        there = found.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            if below := differs(value, there):
                changes[key] = below
        elif there != value:
            changes[key] = value
    return changes


class Patroni:
    """This host's Patroni. Every method raises PatroniError."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._client = httpx.AsyncClient(
            base_url=settings.rest,
            auth=(REST_USER, settings.rest_password()),
            timeout=None,  # noqa: S113 - every request below runs in a cancel scope
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def answers(self) -> bool:
        """Whether it is there at all; what it answers does not count."""
        try:
            await self._ask("GET", "/liveness", refused=True)
        except PatroniError:
            return False
        return True

    async def members(self) -> Members:
        """Who is what; from Consul, so not while that is away."""
        answer = await self._ask("GET", "/cluster")
        try:
            return members(answer.content)
        except msgspec.DecodeError as error:
            raise PatroniError(f"Patroni: GET /cluster: {error}") from None

    async def configure(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make the cluster's dynamic configuration say ``wanted``; what had to be changed."""
        try:
            found = (await self._ask("GET", "/config")).json()
        except ValueError as error:
            raise PatroniError(f"Patroni: GET /config: {error}") from None
        changes = differs(wanted, found)
        if changes:
            await self._ask("PATCH", "/config", json=changes)
        return changes

    async def switchover(self, leader: str, candidate: str) -> str:
        """From ``leader`` to ``candidate``, planned: no write is lost. What Patroni said."""
        body = {"leader": leader, "candidate": candidate}
        answer = await self._ask("POST", "/switchover", json=body, within=SWITCHOVER)
        return answer.text.strip()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        within: float = DEADLINE,
        refused: bool = False,
    ) -> httpx.Response:
        try:
            with trio.fail_after(within):
                answer = await self._client.request(method, path, json=json)
        except trio.TooSlowError:
            raise PatroniError(f"Patroni: {method} {path}: no answer in {within:g} s") from None
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            raise PatroniError(f"Patroni: {method} {path}: {words}") from None
        if not refused and not answer.is_success:
            words = " ".join(answer.text.split())[:200]
            raise PatroniError(f"Patroni: {method} {path}: {answer.status_code}: {words}")
        return answer
