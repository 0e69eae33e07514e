"""``/v1/txn``: several writes or none. Source: Consul's documentation, "Transactions"."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

from pbxctl.engines.local.registry import answers
from pbxctl.engines.local.registry.messages import Answer, Request, json_answer
from pbxctl.engines.local.registry.records import Key, RefusedError
from pbxctl.engines.local.registry.state import State

MOST = 64
"""Operations in one transaction, as in Consul."""


class _Operation(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    verb: Literal["check-index", "check-not-exists", "cas", "delete-cas"]
    key: str
    value: str = ""
    flags: int = 0
    index: int = 0


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kv: _Operation = msgspec.field(name="KV")


def transaction(state: State, request: Request, _name: str, now: float) -> Answer:
    """All of the operations or none; 409 says which would not do.

    Of Consul's verbs it has those that compare, on keys that are not locked, each key once.
    Raises RefusedError.
    """
    operations = _read(request.body)
    errors = [
        {"OpIndex": number, "What": wrong}
        for number, one in enumerate(operations)
        if (wrong := _wrong(one, state.journal.keys.get(one.key)))
    ]
    if errors:
        return Answer(status=409, body=msgspec.json.encode({"Results": None, "Errors": errors}))
    for one in operations:
        if one.verb == "cas":
            value = _decoded(one)
            state.keys.put(one.key, value, now, operation="cas", flags=one.flags, cas=one.index)
        elif one.verb == "delete-cas":
            state.keys.delete(one.key, cas=one.index)
    found = [state.journal.keys.get(one.key) for one in operations]
    results = [{"KV": answers.key(record) | {"Value": None}} for record in found if record]
    return json_answer({"Results": results, "Errors": None})


def _read(body: bytes) -> list[_Operation]:
    try:
        operations = [step.kv for step in msgspec.json.decode(body, type=list[_Step])]
    except msgspec.DecodeError as error:
        raise RefusedError(400, f"Failed to parse body: {error}") from None
    if len(operations) > MOST:
        raise RefusedError(413, f"Transaction contains too many operations ({len(operations)})")
    keys = [one.key for one in operations]
    if len(set(keys)) < len(keys):
        raise RefusedError(400, "the embedded registry takes each key once in a transaction")
    for one in operations:
        _decoded(one)
    return operations


def _decoded(one: _Operation) -> bytes:
    try:
        return base64.b64decode(one.value, validate=True)
    except binascii.Error:
        raise RefusedError(400, f"Failed to decode value of {one.key}") from None


def _wrong(one: _Operation, there: Key | None) -> str:
    index = there.modified if there else 0
    if one.verb == "check-not-exists":
        return f'key "{one.key}" exists' if there else ""
    if one.verb == "check-index" and there is None:
        return f'key "{one.key}" doesn\'t exist'
    return "" if one.index == index else f'failed index check for key "{one.key}"'
