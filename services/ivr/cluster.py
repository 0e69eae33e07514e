"""What an IVR server asks of the Call Managers, over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import trio

from services.core.discovery import Instance
from services.core.seal import Seal, SealError

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds for one Call Manager to answer."""
NAMES_FOR = 60.0
"""Seconds for which a tenant's names are good."""
MOST_NAMES = 20_000
PAGE = 1000
SECRETS_FOR = 60.0
"""Seconds for which a secret is good."""

People = tuple[tuple[str, str], ...]


class _User(msgspec.Struct):
    extension: str
    name: str = ""
    enabled: bool = True


class CallManagers:
    """The Call Managers' admin API, whichever of them answers. Raises LookupError, with reasons.

    ``key`` is the cluster's.
    """

    def __init__(
        self, http: httpx.AsyncClient, instances: Callable[[], Iterable[Instance]], key: bytes
    ) -> None:
        self._http = http
        self._instances = instances
        self._names: dict[str, tuple[float, People]] = {}
        self._seal = Seal(key)
        self._secrets: dict[str, tuple[float, str]] = {}

    async def sound(self, digest: str) -> bytes:
        """A file of sound by its digest."""
        return (await self._ask("GET", f"/v1/sounds/{digest}")).content

    async def secret(self, name: str) -> str:
        """A secret of the spec's, which travels sealed with the cluster key."""
        now = trio.current_time()
        known = self._secrets.get(name)
        if known is None or now > known[0] + SECRETS_FOR:
            sealed = (await self._ask("GET", f"/v1/sealed/{quote(name, safe='')}")).content
            try:
                known = now, self._seal.open(name, sealed)
            except SealError as error:
                raise LookupError(str(error)) from None
            self._secrets[name] = known
        return known[1]

    async def end(self, call_id: str, reason: str) -> None:
        """End a call that no server has any more, whether it rings or was answered."""
        try:
            await self._ask("DELETE", f"/v1/calls/{quote(call_id, safe='')}?reason={reason}")
        except LookupError as error:
            log.info("call %s was not ended: %s", call_id, error)

    async def people(self, tenant: str) -> People:
        """Extensions and names of a tenant's users who can be called."""
        now = trio.current_time()
        known = self._names.get(tenant)
        if known is None or now > known[0] + NAMES_FOR:
            known = now, await self._people(tenant)
            self._names[tenant] = known
        return known[1]

    async def _people(self, tenant: str) -> People:
        found: list[tuple[str, str]] = []
        after = ""
        while len(found) < MOST_NAMES:
            query = f"?limit={PAGE}&after={quote(after)}"
            answer = await self._ask("GET", f"/v1/tenants/{quote(tenant, safe='')}/users{query}")
            page = msgspec.json.decode(answer.content, type=list[_User])
            found += [(user.extension, user.name) for user in page if user.enabled and user.name]
            if len(page) < PAGE:
                break
            after = page[-1].extension
        return tuple(found)

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        problem = "no Call Manager is registered"
        for instance in self._instances():
            url = f"{instance.meta.get('admin', '')}{path}"
            try:
                answer = await self._http.request(method, url, **options)
            except httpx.HTTPError as error:
                problem = f"{instance.id}: {error or type(error).__name__}"
                continue
            if answer.status_code < 400:
                return answer
            problem = f"{instance.id}: {method} {path}: status {answer.status_code}"
        raise LookupError(problem)
