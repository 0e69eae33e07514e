"""Calls as values, which another process goes on with. RFC 3261 section 12.2.1.1 lets it.

What a process writes down may be older than what it did last: the adopter leaves out some sequence
numbers (`dialog.GAP`), and takes any higher number of the other party's.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import msgspec

from services.core.sip.dialog import Dialog
from services.core.sip.errors import MalformedError
from services.core.sip.exchange import Flow
from services.core.sip.message import Request, compose
from services.core.sip.negotiation import Negotiation
from services.core.sip.session_timer import SessionTimer

VERSION = 1
_NO_UTF8 = re.compile("[\udc80-\udcff]")


class ExportedCall(msgspec.Struct, kw_only=True):
    """``allows`` is the other party's Allow, lower case."""

    version: int
    dialog: Dialog
    negotiation: Negotiation
    timer: SessionTimer
    allows: list[str]


class ExportedInvitation(msgspec.Struct, kw_only=True):
    """``invite`` is the INVITE as it came, ``source`` where from."""

    version: int
    dialog: Dialog
    invite: bytes
    source: tuple[str, str, int]


Exported = TypeVar("Exported", ExportedCall, ExportedInvitation)


def exported_call(
    dialog: Dialog, negotiation: Negotiation, timer: SessionTimer, allows: list[str]
) -> bytes:
    """A confirmed call as JSON; an offer that is under way dies with its transaction."""
    settled = msgspec.structs.replace(negotiation)
    settled.withdrawn()
    return _write(
        ExportedCall(
            version=VERSION, dialog=dialog, negotiation=settled, timer=timer, allows=allows
        )
    )


def exported_invitation(request: Request, source: Flow, dialog: Dialog) -> bytes:
    """An INVITE that waits for its answer as JSON."""
    fields = [(name, value) for name, value in request.headers if name != "Content-Length"]
    invite = compose(f"INVITE {request.uri} SIP/2.0", fields, request.body)
    where = (source.transport, source.host, source.port)
    return _write(ExportedInvitation(version=VERSION, dialog=dialog, invite=invite, source=where))


def read_call(data: bytes) -> ExportedCall:
    """`MalformedError` if it is none, or of another version."""
    return _read(data, ExportedCall)


def read_invitation(data: bytes) -> ExportedInvitation:
    """`MalformedError` if it is none, or of another version."""
    return _read(data, ExportedInvitation)


def _write(state: ExportedCall | ExportedInvitation) -> bytes:
    try:
        return msgspec.json.encode(state)
    except UnicodeEncodeError:
        return msgspec.json.encode(_escaped(msgspec.to_builtins(state)))


def _escaped(value: Any) -> Any:
    """With the bytes that are no UTF-8 escaped as in a URI: a display name may be Latin-1."""
    if isinstance(value, str):
        return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", value)
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in cast("list[Any]", value)]
    return value


def _read(data: bytes, kind: type[Exported]) -> Exported:
    try:
        state = msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise MalformedError(f"no exported call: {error}") from None
    if state.version != VERSION:
        raise MalformedError(f"exported by version {state.version}; this is version {VERSION}")
    return state
