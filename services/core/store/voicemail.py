"""Voicemail boxes: PINs, greetings and messages, the sound included."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.store.dialect import insert
from services.core.store.schema import boxes, messages

MessageState = Literal["new", "saved"]
Unlocked = Literal["open", "wrong", "locked", "no pin"]

ATTEMPTS = 5
"""Wrong PINs in a row that lock a box."""
LOCKED = 900.0
"""Seconds that it is locked; each wrong one after that locks it again."""
SALT = 16
FORGET = 7 * 86_400.0
"""Seconds for which a deleted message is known as such."""
CLAIM = 60.0
"""Seconds after which who was sending a mail is not waited for any more."""


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """``new`` and ``saved`` count messages; ``locked_until`` is a Unix time, 0 if it is open;
    ``used`` is whether anything was ever in it, or set.
    """

    tenant: str
    extension: str
    new: int = 0
    saved: int = 0
    has_pin: bool = False
    has_greeting: bool = False
    locked_until: float = 0.0
    used: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message without its sound. ``left_at`` is a Unix time."""

    id: str
    tenant: str
    extension: str
    left_at: float
    seconds: float
    caller: str = ""
    name: str = ""
    state: MessageState = "new"


_COLUMNS = [messages.c[name] for name in Message.__struct_fields__]


def box(connection: Connection, tenant: str, extension: str, now: float) -> Box:
    """A box, whether anything was ever in it or not."""
    row = connection.execute(
        sa.select(boxes).where(boxes.c.tenant == tenant, boxes.c.extension == extension)
    ).one_or_none()
    counted = connection.execute(
        sa.select(messages.c.state, sa.func.count())
        .where(_of(tenant, extension))
        .group_by(messages.c.state)
    )
    counts = {str(row[0]): int(row[1]) for row in counted}
    locked = float(row.locked_until) if row is not None else 0.0
    return Box(
        tenant=tenant,
        extension=extension,
        new=counts.get("new", 0),
        saved=counts.get("saved", 0),
        has_pin=row is not None and bool(row.pin),
        has_greeting=row is not None and bool(row.greeting),
        locked_until=locked if locked > now else 0.0,
        used=row is not None,
    )


def unlock(connection: Connection, tenant: str, extension: str, pin: str, now: float) -> Unlocked:
    """Whether a PIN opens a box; wrong ones are counted, whoever asks and wherever."""
    row = connection.execute(
        sa.select(boxes.c.pin, boxes.c.wrong, boxes.c.locked_until)
        .where(boxes.c.tenant == tenant, boxes.c.extension == extension)
        .with_for_update()
    ).one_or_none()
    if row is None or not row.pin:
        return "no pin"
    if row.locked_until > now:
        return "locked"
    good = hmac.compare_digest(_hashed(pin, row.pin[:SALT]), row.pin)
    wrong = 0 if good else row.wrong + 1
    locked = now + LOCKED if wrong >= ATTEMPTS else 0.0
    _change(connection, tenant, extension, wrong=wrong, locked_until=locked)
    return "open" if good else "locked" if locked else "wrong"


def set_pin(connection: Connection, tenant: str, extension: str, pin: str) -> None:
    """Give a box another PIN, or none with an empty one; it is not locked any more."""
    hashed = _hashed(pin, os.urandom(SALT)) if pin else b""
    _change(connection, tenant, extension, pin=hashed, wrong=0, locked_until=0.0)


def set_greeting(connection: Connection, tenant: str, extension: str, sound: bytes) -> None:
    """Give a box its own greeting, or none with an empty one."""
    _change(connection, tenant, extension, greeting=sound)


def greeting(connection: Connection, tenant: str, extension: str) -> bytes:
    """The sound of a box's own greeting; empty if it has none."""
    found = connection.execute(
        sa.select(boxes.c.greeting).where(boxes.c.tenant == tenant, boxes.c.extension == extension)
    ).scalar_one_or_none()
    return found or b""


def put(connection: Connection, message: Message, sound: bytes, *, mail: bool) -> bool:
    """Keep a message; False if it was there already, or was and is deleted. ``mail``: it is due."""
    values = msgspec.structs.asdict(message) | {
        "mail": "due" if mail else "",
        "mail_at": 0.0,
        "attempts": 0,
        "audio": sound,
    }
    statement = insert(connection, messages).values(**values)
    once = statement.on_conflict_do_nothing(index_elements=["id"]).returning(messages.c.id)
    new = connection.execute(once).one_or_none() is not None
    if new:
        _change(connection, message.tenant, message.extension, changed=True)
    return new


def page(
    connection: Connection, tenant: str, extension: str, *, limit: int = 1000
) -> list[Message]:
    """The messages of a box: new ones first, and of those the oldest."""
    query = (
        sa.select(*_COLUMNS)
        .where(_of(tenant, extension))
        .order_by(messages.c.state, messages.c.left_at, messages.c.id)
        .limit(limit)
    )
    return [_message(row) for row in connection.execute(query)]


def sound(connection: Connection, tenant: str, extension: str, message_id: str) -> bytes | None:
    """A message's sound, or None."""
    query = sa.select(messages.c.audio).where(_of(tenant, extension), messages.c.id == message_id)
    return connection.execute(query).scalar_one_or_none()


def save(
    connection: Connection, tenant: str, extension: str, message_id: str, state: MessageState
) -> bool:
    """Mark a message as heard, or as new again; False if it is not there."""
    found = sa.update(messages).where(_of(tenant, extension), messages.c.id == message_id)
    return _changed(connection, found.values(state=state), tenant, extension)


def delete(connection: Connection, tenant: str, extension: str, message_id: str) -> bool:
    """Delete a message; False if it is not there."""
    found = sa.update(messages).where(_of(tenant, extension), messages.c.id == message_id)
    return _changed(connection, found.values(**_DELETED), tenant, extension)


def any_changed(connection: Connection) -> bool:
    """Whether there is a box whose phones are to be told."""
    return connection.execute(sa.select(sa.exists().where(boxes.c.changed))).scalar_one()


def take_changed(connection: Connection, limit: int = 100) -> list[tuple[str, str]]:
    """Tenant and extension of boxes whose phones are to be told, which counts as done by this."""
    rows = connection.execute(
        sa.select(boxes.c.tenant, boxes.c.extension)
        .where(boxes.c.changed)
        .order_by(boxes.c.tenant, boxes.c.extension)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [(str(row.tenant), str(row.extension)) for row in rows]
    for tenant, extension in found:
        _change(connection, tenant, extension, changed=False)
    return found


def expire(connection: Connection, tenant: str, now: float, keep: float) -> int:
    """Delete a tenant's messages older than ``keep`` seconds, and forget what was deleted; says
    how many."""
    ours, at = messages.c.tenant == tenant, messages.c.left_at
    old = sa.update(messages).where(ours, messages.c.state != "deleted", at < now - keep)
    found = connection.execute(old.values(**_DELETED)).rowcount
    gone = sa.delete(messages).where(ours, messages.c.state == "deleted", at < now - keep - FORGET)
    connection.execute(gone)
    return found


def claim_mail(connection: Connection, now: float) -> tuple[Message, bytes, int] | None:
    """A message whose mail is due, now claimed: with its sound and the attempts before this one.

    None if there is none. Who has claimed one says `mailed`, or `mail_later`.
    """
    due = sa.or_(
        sa.and_(messages.c.mail == "due", messages.c.mail_at <= now),
        sa.and_(messages.c.mail == "sending", messages.c.mail_at <= now - CLAIM),
    )
    row = connection.execute(
        sa.select(*_COLUMNS, messages.c.audio, messages.c.attempts)
        .where(due, messages.c.state != "deleted")
        .order_by(messages.c.mail_at, messages.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    _mail(connection, row.id, mail="sending", mail_at=now)
    return _message(row), row.audio, row.attempts


def mailed(connection: Connection, message_id: str) -> None:
    """Its mail was sent, or is not to be."""
    _mail(connection, message_id, mail="")


def mail_later(connection: Connection, message_id: str, at: float, attempts: int) -> None:
    """Its mail could not be sent: again at the Unix time ``at``."""
    _mail(connection, message_id, mail="due", mail_at=at, attempts=attempts)


_DELETED = {"state": "deleted", "audio": b"", "mail": "", "caller": "", "name": ""}


def _of(tenant: str, extension: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        messages.c.tenant == tenant,
        messages.c.extension == extension,
        messages.c.state != "deleted",
    )


def _message(row: sa.Row[tuple[object, ...]]) -> Message:
    values = {name: getattr(row, name) for name in Message.__struct_fields__}
    return msgspec.convert(values, Message)


def _mail(connection: Connection, message_id: str, **values: object) -> None:
    connection.execute(sa.update(messages).where(messages.c.id == message_id).values(**values))


def _changed(connection: Connection, update: sa.Update, tenant: str, extension: str) -> bool:
    """Whether a message has changed; then its box has too."""
    done = connection.execute(update).rowcount > 0
    if done:
        _change(connection, tenant, extension, changed=True)
    return done


def _change(connection: Connection, tenant: str, extension: str, **values: object) -> None:
    new = {"pin": b"", "wrong": 0, "locked_until": 0.0, "greeting": b"", "changed": False} | values
    statement = insert(connection, boxes).values(tenant=tenant, extension=extension, **new)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "extension"], set_=values)
    )


def _hashed(pin: str, salt: bytes) -> bytes:
    # A PIN has few digits: what slows down guessing from a stolen database is the work of each.
    return salt + hashlib.scrypt(pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
