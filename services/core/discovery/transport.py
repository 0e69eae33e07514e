"""Questions to the registry, each with a deadline."""

from __future__ import annotations

import random

import httpx
import trio

from services.core.discovery.blocking import backoff, read_timeout
from services.core.discovery.errors import RegistryRefusedError, RegistryUnreachableError

ATTEMPT = 0.5
"""Seconds for one attempt: a connection to a leader that died hangs for tens of seconds."""
PATIENCE = 5.0
"""Seconds for a question with all its retries: longer than a Raft election (2.8 to 3.6 s)."""
WAIT = 30.0
"""Seconds that a blocking query is held. Also how long a restored registry can go unnoticed."""

Params = dict[str, str | int]

_jitter = random.SystemRandom().random


class Transport:
    """One registry's HTTP API. ``url`` as in ``http://127.0.0.1:8500``; ``token`` may be empty."""

    def __init__(self, url: str, token: str = "") -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1/",
            headers={"X-Consul-Token": token} if token else None,
            timeout=None,  # noqa: S113 - every request below runs in a cancel scope
            trust_env=False,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=4.0),
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes = b"",
        allow: tuple[int, ...] = (200,),
        once: bool = False,
    ) -> tuple[httpx.Response, bool]:
        """The answer, and whether an earlier attempt may have been carried out unseen.

        ``once``: try once only, for `ATTEMPT` seconds; who asks decides again what to do.
        Raises RegistryUnreachableError; RegistryRefusedError for a status not in ``allow``.
        """
        request = f"{method} {path}"
        unseen = False
        failures = 0
        reason = f"no answer within {PATIENCE:g} s"
        with trio.move_on_after(PATIENCE):
            while True:
                try:
                    with trio.fail_after(ATTEMPT):
                        answer = await self._client.request(
                            method, path, params=params, content=content
                        )
                except httpx.ConnectError as error:
                    reason = _words(error)
                except (httpx.TransportError, trio.TooSlowError) as error:
                    unseen = True
                    reason = _words(error)
                else:
                    if answer.status_code in allow:
                        return answer, unseen
                    refusal = RegistryRefusedError(request, answer.status_code, answer.text.strip())
                    if not _passing_trouble(refusal):
                        raise refusal
                    unseen = True
                    reason = str(refusal)
                if once:
                    break
                failures += 1
                await trio.sleep(backoff(failures, _jitter()))
        raise RegistryUnreachableError(f"registry: {request}: {reason}")

    async def block(self, path: str, params: Params, index: int) -> httpx.Response:
        """One blocking query; at once with ``index`` 0. 200 or 404, else RegistryError."""
        blocking = {**params, "index": index, "wait": f"{WAIT:g}s"} if index else params
        try:
            with trio.fail_after(read_timeout(WAIT) if index else PATIENCE):
                answer = await self._client.get(path, params=blocking)
        except (httpx.TransportError, trio.TooSlowError) as error:
            raise RegistryUnreachableError(f"registry: GET {path}: {_words(error)}") from None
        if answer.status_code not in (200, 404):
            raise RegistryRefusedError(f"GET {path}", answer.status_code, answer.text.strip())
        return answer


def _words(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _passing_trouble(refusal: RegistryRefusedError) -> bool:
    """Whether asking again may help: Consul says 500 while its servers have no leader."""
    return refusal.status in (429, 502, 503, 504) or (
        refusal.status == 500 and "leader" in refusal.reason
    )
