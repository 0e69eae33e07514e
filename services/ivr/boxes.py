"""Voicemail boxes as an IVR server reaches them: over the Call Managers' admin API.

A message that was left, or was recorded by a menu, lies on this server's disk until a Call Manager
has acknowledged it, so that none is lost while the database or all Call Managers are away. It has
its id from the start: sent twice, it is there once.

    directory/recording/<name>.wav     what is being said, or was and is not decided upon
    directory/spool/<id>.wav, .json    a message that is to be sent; the second comes last
    directory/refused/                 what no box takes, for people to look at
    directory/heard/                   sounds of boxes that were played
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import msgspec
import trio

from services.core.audio import Recorded
from services.core.discovery import Instance
from services.core.menus import recording_id
from services.ivr.call import BoxFound, Changed, Head, Unlocked

log = logging.getLogger(__name__)

LEAST = 1.0
"""Seconds that a message has at least."""
EVERY = 2.0
SENDING = 30.0
"""Seconds for a Call Manager to take a message."""
ASKING = 2.5
CHANGING = 5.0
"""Seconds for a Call Manager to take a greeting or prompt; the caller waits."""
WAV_HEAD, WAV_SECOND = 44, 16_000
"""Bytes of a recording's header, and of a second of it: 16-bit samples, 8,000 a second."""
FORGET = 3600.0
"""Seconds after which a recording that nobody has decided upon, or a heard sound, goes."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be sent. ``left_at`` is a Unix time.

    Without an ``owner`` it is no box's: a menu has recorded it in ``call``, and it goes among the
    recordings of the tenant. ``called`` is what that call was for.
    """

    id: str
    tenant: str
    owner: str
    left_at: float
    caller: str = ""
    name: str = ""
    call: str = ""
    called: str = ""


Ending = tuple[Left, Awaitable[Recorded]]
"""A message, and what it will be when it has been recorded."""


class _Box(msgspec.Struct):
    full: bool
    longest: int
    has_pin: bool
    has_greeting: bool


class _Unlocked(msgspec.Struct):
    result: str


class _Message(msgspec.Struct):
    id: str
    left_at: float
    caller: str
    name: str
    state: str


class Boxes:
    """`run` has to run: it sends what was left. Nothing here raises for what is away."""

    def __init__(
        self,
        directory: Path,
        http: httpx.AsyncClient,
        call_managers: Callable[[], Iterable[Instance]],
    ) -> None:
        self._recording = directory / "recording"
        self._spool = directory / "spool"
        self._refused = directory / "refused"
        self._heard = directory / "heard"
        for each in (self._recording, self._spool, self._refused, self._heard):
            each.mkdir(parents=True, exist_ok=True)
        self._http = http
        self._call_managers = call_managers
        self._fresh = trio.Event()
        self._ending, self._endings = trio.open_memory_channel[tuple[Left, Awaitable[Recorded]]](
            math.inf
        )
        self._unfinished = 0
        self.waiting = len(list(self._spool.glob("*.json")))
        """Messages that no Call Manager has taken yet."""

    def path(self, name: str = "") -> Path:
        """Where a new recording goes, or one that was made."""
        return self._recording / f"{name or uuid.uuid4().hex}.wav"

    def settle(self, name: str) -> str:
        """A recording is whole: from now on its name is the digest of its bytes, which is given."""
        path = self.path(name)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(self.path(digest))
        return digest

    def keep(self, left: Left, name: str) -> None:
        """A recording is a message now. Raises OSError where it is not there any more."""
        self.path(name).rename(self._spool / f"{left.id}.wav")
        new = self._spool / f"{left.id}.new"
        new.write_bytes(msgspec.json.encode(left))
        new.rename(self._spool / f"{left.id}.json")
        self.waiting += 1
        self._fresh.set()

    async def sent(self, left: Left) -> None:
        """Wait until what was kept is where it belongs, or was refused there."""
        path = self._spool / f"{left.id}.json"
        while path.exists():  # noqa: ASYNC110 - seldom, and soon over
            await trio.sleep(0.05)

    def keep_when_over(self, left: Left, recording: Awaitable[Recorded]) -> None:
        """A recording that is being made will be a message, if it is long enough."""
        self._unfinished += 1
        self._ending.send_nowait((left, recording))

    async def finished(self) -> None:
        """Wait until every recording that will be a message is on disk."""
        while self._unfinished:  # noqa: ASYNC110 - as a server stops, and soon over
            await trio.sleep(0.02)

    async def run(self) -> None:
        """Send messages until they are taken, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._finish)
            cleaned = float("-inf")
            while True:
                if trio.current_time() >= cleaned + FORGET:
                    await trio.to_thread.run_sync(self._clean)
                    cleaned = trio.current_time()
                self._fresh = trio.Event()
                for path in sorted(self._spool.glob("*.json")):
                    await self._send(path)
                self.waiting = len(list(self._spool.glob("*.json")))
                with trio.move_on_after(EVERY):
                    await self._fresh.wait()

    async def _finish(self) -> None:
        async with trio.open_nursery() as nursery:
            async for left, recording in self._endings:
                nursery.start_soon(self._finish_one, left, recording)

    async def _finish_one(self, left: Left, recording: Awaitable[Recorded]) -> None:
        recorded = await recording
        try:
            if recorded.seconds >= LEAST and recorded.ended != "failed":
                self.keep(left, recorded.path.stem)
        except OSError as error:
            log.warning("a message for %s is lost: %s", left.owner, error)
        finally:
            self._unfinished -= 1

    async def _send(self, path: Path) -> None:
        try:
            left, data = await trio.to_thread.run_sync(_spooled, path)
        except (OSError, msgspec.DecodeError) as error:
            self._refuse(path, str(error))
            return
        answer = await (self._to_box(left, data) if left.owner else self._to_store(left, data))
        if answer is None:
            return
        if answer.is_success:
            await trio.to_thread.run_sync(_remove, path)
        else:
            self._refuse(path, f"status {answer.status_code}: {answer.text[:200]}")

    async def _to_box(self, left: Left, data: bytes) -> httpx.Response | None:
        query = httpx.QueryParams(left_at=left.left_at, caller=left.caller, name=left.name)
        where = f"{_box(left.tenant, left.owner)}/messages/{left.id}?{query}"
        return await self._ask("PUT", where, SENDING, content=data)

    async def _to_store(self, left: Left, data: bytes) -> httpx.Response | None:
        """The sound, then its entry in the index of recordings."""
        digest = hashlib.sha256(data).hexdigest()
        path = f"/v1/sounds/{digest}"
        query = httpx.QueryParams(tenant=left.tenant)
        answer = await self._ask("PUT", f"{path}?{query}", SENDING, content=data)
        if answer is None or not answer.is_success:
            return answer
        entry = {
            "id": recording_id(digest),
            "call": left.call,
            "server": "store",
            "path": path,
            "started": left.left_at,
            "tenant": left.tenant,
            "caller": left.caller,
            "callee": left.called,
            "duration": max(0, len(data) - WAV_HEAD) / WAV_SECOND,
            "size": len(data),
        }
        return await self._ask("POST", "/v1/recordings", ASKING, json=entry)

    def _refuse(self, path: Path, why: str) -> None:
        log.warning("message %s is set aside in %s: %s", path.stem, self._refused, why)
        for each in (path.with_suffix(".wav"), path):
            if each.exists():
                each.rename(self._refused / each.name)

    def _clean(self) -> None:
        old = time.time() - FORGET
        for directory in (self._recording, self._heard):
            for path in directory.iterdir():
                if path.stat().st_mtime < old:
                    path.unlink()

    # What calls ask for.

    async def open(self, serial: int, tenant: str, owner: str) -> BoxFound:
        """What box it is."""
        answer = await self._ask("GET", _box(tenant, owner), ASKING)
        found = _read(answer, _Box)
        if found is None:
            gone = answer is not None and answer.status_code == 404
            return BoxFound(serial=serial, known=gone, there=not gone)
        return BoxFound(
            serial=serial,
            full=found.full,
            longest=found.longest,
            has_pin=found.has_pin,
            has_greeting=found.has_greeting,
        )

    async def unlock(self, serial: int, tenant: str, owner: str, pin: str) -> Unlocked:
        """Try a PIN."""
        box = _box(tenant, owner)
        found = _read(
            await self._ask("POST", f"{box}/unlock", ASKING, json={"pin": pin}), _Unlocked
        )
        result = found.result if found is not None else "away"
        if result not in ("open", "no pin"):
            return Unlocked(serial, "locked" if result == "locked" else _wrong(result))
        messages = _read(await self._ask("GET", f"{box}/messages", ASKING), list[_Message])
        if messages is None:
            return Unlocked(serial, "away")
        heads = tuple(_head(one) for one in messages)
        return Unlocked(serial, "open" if result == "open" else "no pin", heads)

    async def mark(self, tenant: str, owner: str, message: str, state: str) -> None:
        """A message was heard, or is to go."""
        where = f"{_box(tenant, owner)}/messages/{message}"
        if state == "deleted":
            await self._ask("DELETE", where, ASKING)
        else:
            await self._ask("PATCH", where, ASKING, json={"state": "saved"})

    async def set_pin(self, serial: int, tenant: str, owner: str, pin: str) -> Changed:
        """Another PIN."""
        answer = await self._ask("PUT", f"{_box(tenant, owner)}/pin", ASKING, json={"pin": pin})
        return Changed(serial, _changed(answer))

    async def set_greeting(self, serial: int, tenant: str, owner: str, name: str) -> Changed:
        """A recording as greeting; none without a name."""
        return await self._set(serial, f"{_box(tenant, owner)}/greeting", name)

    async def set_prompt(
        self, serial: int, tenant: str, name: str, digest: str, by: str
    ) -> Changed:
        """A recording of ``by``'s in place of a prompt; without a digest what the spec has."""
        path = f"/v1/tenants/{quote(tenant, safe='')}/prompts/{quote(name, safe='')}"
        return await self._set(serial, f"{path}?by={quote(by)}", digest)

    async def _set(self, serial: int, where: str, name: str) -> Changed:
        """PUT a recording, or without one DELETE."""
        if not name:
            return Changed(serial, _changed(await self._ask("DELETE", where, ASKING)))
        try:
            data = await trio.Path(self.path(name)).read_bytes()
        except OSError:
            return Changed(serial, "away")
        return Changed(serial, _changed(await self._ask("PUT", where, CHANGING, content=data)))

    async def sound(self, tenant: str, kept: str) -> Path:
        """What a box holds, as a file: see `call.Line`. Raises LookupError."""
        owner, _, message = kept.partition("/")
        below = f"messages/{message}/sound" if message else "greeting"
        answer = await self._ask("GET", f"{_box(tenant, owner)}/{below}", ASKING)
        if answer is None or answer.status_code != 200:
            raise LookupError(f"the box of {owner}: {below} cannot be had")
        path = self._heard / f"{uuid.uuid4().hex}.mp3"
        path.write_bytes(answer.content)
        return path

    async def _ask(
        self, method: str, path: str, within: float, **options: Any
    ) -> httpx.Response | None:
        """The first answer of a Call Manager that can give one; None if there is none in time."""
        problem = "no Call Manager is registered"
        with trio.move_on_after(within):
            for instance in self._call_managers():
                url = f"{instance.meta.get('admin', '')}{path}"
                try:
                    answer = await self._http.request(method, url, timeout=within, **options)
                except httpx.HTTPError as error:
                    problem = f"{instance.id}: {error or type(error).__name__}"
                    continue
                if answer.status_code < 500:
                    return answer
                problem = f"{instance.id}: status {answer.status_code}"
        log.info("voicemail: %s %s: %s", method, path.partition("?")[0], problem)
        return None


def _box(tenant: str, owner: str) -> str:
    return f"/v1/tenants/{quote(tenant, safe='')}/voicemail/{quote(owner, safe='')}"


def _spooled(path: Path) -> tuple[Left, bytes]:
    left = msgspec.json.decode(path.read_bytes(), type=Left)
    return left, path.with_suffix(".wav").read_bytes()


def _remove(path: Path) -> None:
    path.unlink()
    path.with_suffix(".wav").unlink()


def _head(one: _Message) -> Head:
    at = datetime.datetime.fromtimestamp(one.left_at).isoformat(timespec="minutes")  # noqa: DTZ006 - as the caller's clock shows it
    return Head(one.id, one.caller, one.name, at, one.state == "new")


def _read(answer: httpx.Response | None, kind: Any) -> Any:
    """The answer's body; None where there is no good one."""
    if answer is None or answer.status_code != 200:
        return None
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        log.warning("voicemail: an answer cannot be read: %s", error)
        return None


def _wrong(result: str) -> Literal["wrong", "away"]:
    return "wrong" if result == "wrong" else "away"


def _changed(answer: httpx.Response | None) -> Literal["done", "refused", "away"]:
    if answer is None:
        return "away"
    return "done" if answer.status_code == 204 else "refused"
