"""Voicemail boxes: messages, PINs and greetings, for IVR servers and for portals."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
import trio
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.engine import Connection

from services.call_manager.api.models import Body, Extension, TenantName
from services.call_manager.parts import Parts
from services.call_manager.voicemail.sound import KIND, SoundError, compress
from services.core.admin import Problem, authorized_router, bytes_of
from services.core.configuration import User, Voicemail
from services.core.store import users, voicemail
from services.core.store.voicemail import Message

MOST = 30 * 1024 * 1024
"""Bytes of one sound as it is sent: `sound.LONGEST` of 16-bit sound at 16 kHz."""
BOX = "/v1/tenants/{tenant}/voicemail/{extension}"
MessageId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
SOUND = bytes_of(KIND) | NOT_FOUND
WEAK: dict[int | str, dict[str, Any]] = {409: {"model": Problem}}
PIN = r"^[0-9]{4,12}$"


class Box(BaseModel):
    """``full``: no more messages are to be left. ``locked_until`` is a Unix time, 0 if it is open.

    ``longest`` is how many seconds a message may have.
    """

    extension: str
    name: str
    new: int
    saved: int
    full: bool
    longest: int
    has_pin: bool
    has_greeting: bool
    locked_until: float


class MessageRead(BaseModel):
    """``left_at`` is a Unix time."""

    id: str
    left_at: float
    seconds: float
    caller: str
    name: str
    state: Literal["new", "saved"]


class Pin(Body):
    pin: str = Field(max_length=32)


class NewPin(Body):
    pin: str = Field(pattern=PIN, description="4 to 12 digits")


class State(Body):
    state: Literal["new", "saved"]


class Unlocked(BaseModel):
    """``result``: the PIN opens the box, is wrong, or counts for nothing for some minutes; or there
    is none."""

    result: Literal["open", "wrong", "locked", "no pin"]


def router(parts: Parts) -> APIRouter:
    """``/v1/tenants/{tenant}/voicemail``."""
    routes = authorized_router(tags=["voicemail"])
    for add in (_boxes, _messages, _greetings):
        add(routes, parts)
    return routes


def weak(pin: str, extension: str) -> bool:
    """Whether a PIN is among the first that anybody would try."""
    steps = {int(b) - int(a) for a, b in pairwise(pin)}
    return pin == extension or steps in ({0}, {1}, {-1})


def _boxes(routes: APIRouter, parts: Parts) -> None:
    @routes.get(BOX, responses=NOT_FOUND)
    def get_box(tenant: TenantName, extension: Extension) -> Box:  # pyright: ignore[reportUnusedFunction]
        """A user's box; every user has one."""
        with parts.database.read() as connection:
            user = _user(parts, connection, tenant, extension)
            found = voicemail.box(connection, tenant, extension, time.time())
        rules = _rules(parts, tenant)
        return Box(
            extension=extension,
            name=user.name,
            new=found.new,
            saved=found.saved,
            full=found.new + found.saved >= rules.messages,
            longest=rules.length,
            has_pin=found.has_pin,
            has_greeting=found.has_greeting,
            locked_until=found.locked_until,
        )

    @routes.post(f"{BOX}/unlock", responses=NOT_FOUND)
    def unlock_box(tenant: TenantName, extension: Extension, body: Pin) -> Unlocked:  # pyright: ignore[reportUnusedFunction]
        """Try a PIN. Wrong ones are counted, and lock the box."""
        with parts.database.write() as connection:
            _user(parts, connection, tenant, extension)
            result = voicemail.unlock(connection, tenant, extension, body.pin, time.time())
        return Unlocked(result=result)

    @routes.put(f"{BOX}/pin", status_code=204, responses=NOT_FOUND | WEAK)
    def put_pin(tenant: TenantName, extension: Extension, body: NewPin) -> None:  # pyright: ignore[reportUnusedFunction]
        """Give a box a PIN; 409 for one that is too easy to guess. It is not locked any more."""
        if weak(body.pin, extension):
            raise HTTPException(409, "this PIN is too easy to guess")
        with parts.database.write() as connection:
            _user(parts, connection, tenant, extension)
            voicemail.set_pin(connection, tenant, extension, body.pin)

    @routes.delete(f"{BOX}/pin", status_code=204, responses=NOT_FOUND)
    def delete_pin(tenant: TenantName, extension: Extension) -> None:  # pyright: ignore[reportUnusedFunction]
        """Take a forgotten PIN away: the user makes another one from his own phone."""
        with parts.database.write() as connection:
            _user(parts, connection, tenant, extension)
            voicemail.set_pin(connection, tenant, extension, "")


def _messages(routes: APIRouter, parts: Parts) -> None:
    @routes.get(f"{BOX}/messages", responses=NOT_FOUND)
    def list_messages(tenant: TenantName, extension: Extension) -> list[MessageRead]:  # pyright: ignore[reportUnusedFunction]
        """New ones first, and of those the oldest."""
        with parts.database.read() as connection:
            _user(parts, connection, tenant, extension)
            found = voicemail.page(connection, tenant, extension)
        return [MessageRead(**_plain(one)) for one in found]

    @routes.put(f"{BOX}/messages/{{message}}", status_code=204, responses=NOT_FOUND)
    async def put_message(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName,
        extension: Extension,
        message: MessageId,
        request: Request,
        left_at: Annotated[float, Query(ge=0)],
        caller: Annotated[str, Query(max_length=128)] = "",
        name: Annotated[str, Query(max_length=128)] = "",
    ) -> None:
        """Keep a message whose sound is the body. Sent again it is there once."""
        kept, seconds = await _sound(request)

        def write() -> None:
            with parts.database.write() as connection:
                user = _user(parts, connection, tenant, extension)
                one = Message(
                    id=message,
                    tenant=tenant,
                    extension=extension,
                    left_at=left_at,
                    seconds=round(seconds, 1),
                    caller=caller,
                    name=name,
                )
                due = bool(user.email) and _rules(parts, tenant).email != "off"
                voicemail.put(connection, one, kept, mail=due)

        await trio.to_thread.run_sync(write)

    @routes.get(f"{BOX}/messages/{{message}}/sound", response_class=Response, responses=SOUND)
    def get_sound(tenant: TenantName, extension: Extension, message: MessageId) -> Response:  # pyright: ignore[reportUnusedFunction]
        """MP3."""
        with parts.database.read() as connection:
            found = voicemail.sound(connection, tenant, extension, message)
        if found is None:
            raise _no_message(extension, message)
        return Response(found, media_type=KIND)

    @routes.patch(f"{BOX}/messages/{{message}}", status_code=204, responses=NOT_FOUND)
    def patch_message(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, extension: Extension, message: MessageId, body: State
    ) -> None:
        """Mark it as heard, or as new again."""
        with parts.database.write() as connection:
            if not voicemail.save(connection, tenant, extension, message, body.state):
                raise _no_message(extension, message)

    @routes.delete(f"{BOX}/messages/{{message}}", status_code=204, responses=NOT_FOUND)
    def delete_message(tenant: TenantName, extension: Extension, message: MessageId) -> None:  # pyright: ignore[reportUnusedFunction]
        with parts.database.write() as connection:
            if not voicemail.delete(connection, tenant, extension, message):
                raise _no_message(extension, message)


def _greetings(routes: APIRouter, parts: Parts) -> None:
    @routes.get(f"{BOX}/greeting", response_class=Response, responses=SOUND)
    def get_greeting(tenant: TenantName, extension: Extension) -> Response:  # pyright: ignore[reportUnusedFunction]
        """MP3; 404 where the box has none of its own."""
        with parts.database.read() as connection:
            found = voicemail.greeting(connection, tenant, extension)
        if not found:
            raise HTTPException(404, f"{extension} has no greeting of its own")
        return Response(found, media_type=KIND)

    @routes.put(f"{BOX}/greeting", status_code=204, responses=NOT_FOUND)
    async def put_greeting(tenant: TenantName, extension: Extension, request: Request) -> None:  # pyright: ignore[reportUnusedFunction]
        """The body is the sound."""
        kept, _ = await _sound(request)
        await trio.to_thread.run_sync(partial(_greet, parts, tenant, extension, kept))

    @routes.delete(f"{BOX}/greeting", status_code=204, responses=NOT_FOUND)
    def delete_greeting(tenant: TenantName, extension: Extension) -> None:  # pyright: ignore[reportUnusedFunction]
        _greet(parts, tenant, extension, b"")


def _greet(parts: Parts, tenant: str, extension: str, sound: bytes) -> None:
    with parts.database.write() as connection:
        _user(parts, connection, tenant, extension)
        voicemail.set_greeting(connection, tenant, extension, sound)


def _user(parts: Parts, connection: Connection, tenant: str, extension: str) -> User:
    """Whose box it is. Raises HTTPException 404."""
    parts.known(tenant)
    found = users.get(connection, tenant, extension)
    if found is None:
        raise HTTPException(404, f"{tenant} has no user {extension}")
    return found[0]


def _rules(parts: Parts, tenant: str) -> Voicemail:
    picture = parts.state.picture
    found = picture.tenants if picture is not None else ()
    return next((one.voicemail for one in found if one.name == tenant), Voicemail())


async def _sound(request: Request) -> tuple[bytes, float]:
    """The body as it is kept, and its seconds. Raises HTTPException 413 and 422."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST:
            raise HTTPException(413, f"more than {MOST >> 20} MiB")
    try:
        return await trio.to_thread.run_sync(compress, bytes(data))
    except SoundError as error:
        raise HTTPException(422, f"the sound: {error}") from None


def _plain(one: Message) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(one).items() if name in _SHOWN}


_SHOWN = frozenset(MessageRead.model_fields)


def _no_message(extension: str, message: str) -> HTTPException:
    return HTTPException(404, f"the box of {extension} has no message {message}")
