"""What menus ask of their tenants' web services.

The services are a tenant's own, and so is what they answer: nothing that one of them does holds up,
fills or breaks what the others share. No cookie is kept, no redirect followed, nothing unpacked.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from weakref import WeakValueDictionary

import httpx
import msgspec
import trio

log = logging.getLogger(__name__)

MAX_ANSWER = 64 * 1024
"""Bytes of an answer."""
AT_ONCE = 50
"""Requests of one tenant's that are under way; more wait, within their deadline."""
PROBLEMS = (httpx.HTTPError, httpx.InvalidURL, LookupError, RecursionError)
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "pbx-ivr"}


Secrets = Callable[[str], Awaitable[str]]
"""Tells a secret by its name. Raises LookupError."""


class Web:
    """Asks web services for all tenants' calls."""

    def __init__(self, client: httpx.AsyncClient, secrets: Secrets) -> None:
        self._client = client
        self._secrets = secrets
        self._turns: WeakValueDictionary[str, trio.CapacityLimiter] = WeakValueDictionary()

    async def ask(
        self, tenant: str, url: str, body: dict[str, str], deadline: float, secret: str = ""
    ) -> object:
        """The answer, as JSON that was read; None where there is no good one in ``deadline`` s.

        ``secret`` names what the service is to see as ``Authorization``.
        """
        turn = self._turns.setdefault(tenant, trio.CapacityLimiter(AT_ONCE))
        with trio.move_on_after(deadline):
            try:
                async with turn:
                    headers = {"Authorization": await self._secrets(secret)} if secret else {}
                    return msgspec.json.decode(await self._post(url, body, headers))
            except (*PROBLEMS, ValueError) as error:
                log.info("%s: %s", url, str(error) or type(error).__name__)
                return None
        log.info("%s does not answer within %g s", url, deadline)
        return None

    async def _post(self, url: str, body: dict[str, str], headers: dict[str, str]) -> bytes:
        """Raises ValueError for an answer that is none of use."""
        async with self._client.stream("POST", url, json=body, headers=headers) as answer:
            if answer.status_code // 100 != 2:
                raise ValueError(f"answers {answer.status_code}")
            packed = answer.headers.get("content-encoding", "identity")
            if packed.lower() != "identity":
                raise ValueError(f"packs its answer, as {packed[:40]!r}")
            data = bytearray()
            async for chunk in answer.aiter_raw():
                data += chunk
                if len(data) > MAX_ANSWER:
                    raise ValueError(f"answers more than {MAX_ANSWER} bytes")
            return bytes(data)


@asynccontextmanager
async def open_web(secrets: Secrets) -> AsyncGenerator[Web]:
    """A `Web` with its connections. The system's authorities vouch for services."""
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(
        cookies=jar,
        headers=HEADERS,
        limits=limits,
        timeout=None,  # noqa: S113 - whoever asks has a deadline
        trust_env=False,
        verify=ssl.create_default_context(),
    ) as client:
        yield Web(client, secrets)
