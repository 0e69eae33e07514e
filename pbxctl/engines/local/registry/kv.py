"""``/v1/kv``. Source: Consul's documentation, "KV Store"."""

from __future__ import annotations

import msgspec

from pbxctl.engines.local.registry import answers
from pbxctl.engines.local.registry.journal import Topic
from pbxctl.engines.local.registry.keys import Operation
from pbxctl.engines.local.registry.messages import Answer, Request, json_answer
from pbxctl.engines.local.registry.records import Key, RefusedError
from pbxctl.engines.local.registry.state import State


def kv(state: State, request: Request, key: str, now: float) -> Answer:
    """One request below ``/v1/kv/``. Raises RefusedError."""
    if request.method == "GET":
        return _get(state, request, key)
    if request.method == "PUT":
        return _put(state, request, key, now)
    return _delete(state, request, key)


def _get(state: State, request: Request, key: str) -> Answer:
    if request.flag("recurse") or "recurse" in request.query:
        return _found(state, [answers.key(one) for one in _below(state, key)], key)
    if "keys" in request.query:
        names = [one.id for one in _below(state, key)]
        return _found(state, _to_separator(names, key, request.query.get("separator", "")), key)
    if not key:
        raise RefusedError(400, "Missing key name")
    record = state.journal.keys.get(key)
    index, topic = state.journal.index_of_key(key), Topic("key", key)
    if record is None:
        return Answer(status=404, index=index, topic=topic)
    if "raw" in request.query:
        return Answer(
            body=record.value, content_type="application/octet-stream", index=index, topic=topic
        )
    return Answer(body=msgspec.json.encode([answers.key(record)]), index=index, topic=topic)


def _below(state: State, prefix: str) -> list[Key]:
    found = [one for one in state.journal.keys.values() if one.id.startswith(prefix)]
    return sorted(found, key=lambda one: one.id)


def _found(state: State, value: list[answers.Json] | list[str], prefix: str) -> Answer:
    answer = json_answer(value, state, Topic("key", prefix))
    return answer if value else msgspec.structs.replace(answer, status=404, body=b"")


def _to_separator(names: list[str], prefix: str, separator: str) -> list[str]:
    if not separator:
        return names
    cut: dict[str, None] = {}
    for name in names:
        end = name.find(separator, len(prefix))
        cut[name if end < 0 else name[: end + len(separator)]] = None
    return list(cut)


def _put(state: State, request: Request, key: str, now: float) -> Answer:
    if not key:
        raise RefusedError(400, "Missing key name")
    conditions = [name for name in ("cas", "acquire", "release") if name in request.query]
    if len(conditions) > 1:
        raise RefusedError(400, f"Conflicting flags: {', '.join(conditions)}")
    operations: dict[str, Operation] = {"cas": "cas", "acquire": "acquire", "release": "release"}
    operation = operations[conditions[0]] if conditions else "set"
    return json_answer(
        state.keys.put(
            key,
            request.body,
            now,
            operation=operation,
            flags=_number(request, "flags"),
            cas=_number(request, "cas"),
            session=request.query.get(operation, ""),
        )
    )


def _delete(state: State, request: Request, key: str) -> Answer:
    recurse = "recurse" in request.query
    if recurse and "cas" in request.query:
        raise RefusedError(400, "Conflicting flags: recurse, cas")
    if recurse:
        state.keys.delete_tree(key)
        return json_answer(True)
    if not key:
        raise RefusedError(400, "Missing key name")
    cas = _number(request, "cas") if "cas" in request.query else None
    return json_answer(state.keys.delete(key, cas=cas))


def _number(request: Request, name: str) -> int:
    given = request.query.get(name, "0")
    if not given.isdecimal():
        raise RefusedError(400, f'{name} is "{given}": it must be a number')
    return int(given)
