"""Nomad's HTTP API: requests with a deadline, and errors in an operator's words."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec
import trio

from pbxctl.engines.engine import EngineError
from pbxctl.engines.nomad.reach import Place

TIMEOUT = httpx.Timeout(connect=3.0, read=15.0, write=15.0, pool=5.0)
PATIENCE = 10.0
"""Seconds for which a request that changes nothing is tried again: an election takes three."""
PAUSE = 0.3
ELECTING = (
    *("No cluster leader", "no cluster leader", "No path to region", "rpc error: EOF"),
    "failed to get conn",
)
"""In what a Nomad says whose leader has just gone: there will be another, if any can be."""

T = TypeVar("T")


class UnreachableError(EngineError):
    """Nomad did not answer: whether it did what was asked is not known."""


class RefusedError(EngineError):
    """Nomad answered that it will not; ``status`` is HTTP's, ``body`` its own words."""

    def __init__(self, message: str, status: int, body: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class NomadApi:
    """Use as an async context manager. All raise EngineError."""

    def __init__(self, place: Place, *, patience: float = PATIENCE) -> None:
        self.url = place.nomad.url
        self.patience = patience
        self._parameters = {
            name: value
            for name, value in (("namespace", place.namespace), ("region", place.region))
            if value
        }
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"X-Nomad-Token": place.nomad.token} if place.nomad.token else {},
            timeout=TIMEOUT,
            # A proxy set for the shell has no business between this program and the cluster.
            trust_env=False,
            verify=_trust(place) if self.url.startswith("https:") else False,
        )

    async def __aenter__(self) -> NomadApi:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self._http.aclose()

    async def get(self, path: str, kind: type[T], **query: str) -> T:
        """GET, as `ask`."""
        return await self.ask("GET", path, None, kind, **query)

    async def ask(self, method: str, path: str, body: Any, kind: type[T], **query: str) -> T:
        """What changes nothing: tried again for a while where Nomad is away or has no leader."""
        end = trio.current_time() + self.patience
        while True:
            try:
                return self._read(await self._once(method, path, query, body), kind)
            except (UnreachableError, RefusedError) as error:
                electing = isinstance(error, RefusedError) and any(
                    each in error.body for each in ELECTING
                )
                passing = isinstance(error, UnreachableError) or electing
                if not passing or trio.current_time() >= end:
                    raise
            await trio.sleep(PAUSE)

    async def find(self, path: str, kind: type[T], **query: str) -> T | None:
        """As `get`, None where there is no such thing."""
        try:
            return await self.get(path, kind, **query)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def text(self, path: str, **query: str) -> str:
        """GET of what is no JSON."""
        response = await self._once("GET", path, query, None)
        return response.content.decode(errors="replace")

    async def send(self, method: str, path: str, body: Any, kind: type[T], **query: str) -> T:
        """What changes something, once: who calls finds out what came of it where no answer did."""
        return self._read(await self._once(method, path, query, body), kind)

    async def _once(
        self, method: str, path: str, query: dict[str, str], body: Any
    ) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        try:
            response = await self._http.request(
                method, path, params=self._parameters | query, content=content
            )
        except httpx.TimeoutException:
            raise UnreachableError(f"Nomad at {self.url} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            why = str(error) or type(error).__name__
            raise UnreachableError(
                f"Nomad at {self.url} cannot be reached ({why}); NOMAD_ADDR says where it is"
            ) from None
        if response.is_success:
            return response
        words = " ".join(response.text.split())[:500]
        if response.status_code in (401, 403):
            message = f"Nomad at {self.url} refused: {words}; NOMAD_TOKEN needs a token that may"
            raise RefusedError(message, response.status_code, words)
        raise RefusedError(
            f"Nomad at {self.url} refused {method} {path}: {words}", response.status_code, words
        )

    def _read(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineError(
                f"Nomad at {self.url} answered {response.url.path} with something else than "
                f"expected: {error}"
            ) from None


def _trust(place: Place) -> ssl.SSLContext:
    """The authorities that may vouch for Nomad, and who we are. Raises EngineError."""
    reach = place.nomad
    try:
        context = ssl.create_default_context(cafile=reach.ca or None)
        if reach.cert:
            context.load_cert_chain(reach.cert, reach.key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(each for each in (reach.ca, reach.cert, reach.key) if each)
        raise EngineError(
            f"NOMAD_CACERT, NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY ({files}): {error}"
        ) from None
    return context
