"""The Call Manager's admin API as the operator's side uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
import trio

from services.core import configuration
from services.core.configuration import User

TIMEOUT = httpx.Timeout(connect=2.0, read=30.0, write=30.0, pool=5.0)
RETRY_PAUSE = 0.2
"""Seconds between attempts at a Call Manager that is just starting."""

T = TypeVar("T")


class AdminError(Exception):
    """A Call Manager cannot be reached or refused; the message is for the operator.

    ``status`` is HTTP's, 0 where there was no answer. ``problems`` are those of single lines of a
    bulk of users.
    """

    def __init__(self, message: str, *, status: int = 0, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems


class MediaInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A media server as a Call Manager has it; ``state`` is ``down`` while it gets no calls."""

    name: str
    state: str


class AppInForce(msgspec.Struct, frozen=True, kw_only=True):
    """An application server as a Call Manager has it."""

    name: str
    role: str
    state: str


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls another server goes on with."""

    calls: int = 0


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """What a Call Manager has in force; ``manifest`` is the digest of the manifest's bytes.

    ``media`` is None, and ``switch`` (its own) empty, where it does not say.
    """

    manifest: str = ""
    spec_hash: str = ""
    generation: int = 0
    media: list[MediaInForce] | None = None
    switch: str = ""
    problems: list[str] = []
    apps: list[AppInForce] = []


class AdminClient:
    """One Call Manager's API at ``url``. Use as an async context manager. All raise `AdminError`.

    ``patience`` is how many seconds connection errors are retried for; 0 tries once.
    """

    def __init__(self, url: str, token: str, *, patience: float = 3.0) -> None:
        self.url = url
        self.token = token
        self.patience = patience
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            # A proxy set for the shell has no business between this program and the cluster.
            trust_env=False,
            # Loading the system's certificates takes longer than a request without them.
            verify=url.startswith("https:"),
        )

    async def __aenter__(self) -> AdminClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self._http.aclose()

    async def get(self, path: str, kind: type[T], **query: object) -> T:
        """GET, the answer as ``kind``. Parameters that are None are left out."""
        parameters = {name: str(value) for name, value in query.items() if value is not None}
        response = await self._send("GET", path, params=parameters)
        return self._read(response, kind)

    async def send(self, method: str, path: str, body: object = None) -> bytes:
        """Any other method with a JSON body; the answer's bytes."""
        content = None if body is None else configuration.encode(body)
        headers = {"Content-Type": "application/json"} if content is not None else {}
        response = await self._send(method, path, content=content, headers=headers)
        return response.content

    async def stream(
        self, path: str, lines: AsyncIterator[bytes], kind: type[T], query: Mapping[str, str]
    ) -> T:
        """PUT of NDJSON, read from ``lines`` as it is sent. Not retried: they can be read once."""
        try:
            response = await self._http.put(
                path,
                params=dict(query),
                content=lines,
                headers={"Content-Type": "application/x-ndjson"},
                # A million rows are written in one transaction before the answer comes.
                timeout=httpx.Timeout(connect=2.0, read=600.0, write=60.0, pool=5.0),
            )
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        self._check(response)
        return self._read(response, kind)

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        end = trio.current_time() + self.patience
        while True:
            try:
                response = await self._http.request(method, path, **options)
            except httpx.ConnectError as error:
                if trio.current_time() >= end:
                    raise self._unreachable(error) from None
                await trio.sleep(RETRY_PAUSE)
                continue
            except httpx.TransportError as error:
                # The request may have been done: only what changes nothing is asked again.
                if method != "GET" or trio.current_time() >= end:
                    raise self._unreachable(error) from None
                await trio.sleep(RETRY_PAUSE)
                continue
            self._check(response)
            return response

    def _unreachable(self, error: httpx.TransportError) -> AdminError:
        why = "did not answer in time" if isinstance(error, httpx.TimeoutException) else ""
        return AdminError(f"the Call Manager's API at {self.url} {why or 'cannot be reached'}")

    def _check(self, response: httpx.Response) -> None:
        if response.status_code < 400:
            return
        status = response.status_code
        if status == 401:
            message = "refused this cluster's admin token: does another cluster use its port?"
            raise AdminError(f"the Call Manager's API at {self.url} {message}", status=status)
        message, problems = _explain(response)
        raise AdminError(message, status=status, problems=problems)

    def _read(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=kind, strict=False)
        except msgspec.DecodeError as error:
            raise AdminError(
                f"the Call Manager's API at {self.url} answered {response.url.path} "
                f"with something else than expected: {error}"
            ) from None

    async def in_force(self) -> InForce:
        """What configuration this Call Manager has in force."""
        return await self.get("/v1/configuration", InForce)

    async def fail_over(self, to: str = "") -> None:
        """The VIP's holder gives it to another manager, ``to`` or any; returns when it has."""
        await self.send("POST", "/v1/failover", {"to": to})

    async def hand_calls_over(self) -> int:
        """An IVR server leaves its calls to others; how many, 0 where there is no other one."""
        return self._read(await self._send("POST", "/v1/hand-over"), HandedOver).calls

    async def put_secret(self, name: str, value: str) -> None:
        """Writes a secret to the store, which seals it."""
        await self.send("PUT", f"/v1/secrets/{quote(name, safe='')}", {"value": value})

    async def put_sound(self, digest: str, data: bytes) -> None:
        """Writes a file of sound that menus play."""
        await self._send("PUT", f"/v1/sounds/{digest}", content=data)

    async def put_user(self, user: User) -> None:
        """Writes one user, new or not."""
        await self.send("PUT", user_path(user.tenant, user.extension), user)


def user_path(tenant: str, extension: str) -> str:
    """Path of one user."""
    return f"{users_path(tenant)}/{quote(extension, safe='')}"


def users_path(tenant: str) -> str:
    """Path of a tenant's users."""
    return f"/v1/tenants/{quote(tenant, safe='')}/users"


def _explain(response: httpx.Response) -> tuple[str, tuple[str, ...]]:
    """The ``error`` of the body and its ``problems``, or the status where there is no such body."""
    try:
        body: Any = msgspec.json.decode(response.content)
        problems: Any = body.get("problems", ())
        return str(body["error"]), tuple(str(each) for each in problems)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return f"{response.request.method} {response.url.path}: HTTP {response.status_code}", ()
