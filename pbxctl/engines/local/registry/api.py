"""Consul's HTTP API over the state: pure. A request and the time in, an answer out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pbxctl.engines.local import durations
from pbxctl.engines.local.registry import answers, bodies
from pbxctl.engines.local.registry.journal import Topic
from pbxctl.engines.local.registry.kv import kv
from pbxctl.engines.local.registry.messages import Answer, Request, json_answer
from pbxctl.engines.local.registry.records import Check, RefusedError, Service
from pbxctl.engines.local.registry.state import State
from pbxctl.engines.local.registry.transaction import transaction

VERSION = "1.20.1"
"""The release of Consul whose API this follows."""
DEFAULT_WAIT = 300.0
LONGEST_WAIT = 600.0

Route = Callable[[State, Request, str, float], Answer]


def handle(state: State, request: Request, now: float) -> Answer:
    """The answer to one request. Refusals are answers too."""
    try:
        state.tick(now)
        if request.query.get("dc", answers.DATACENTER) != answers.DATACENTER:
            raise RefusedError(500, "No path to datacenter")
        if "filter" in request.query:
            raise RefusedError(400, "the embedded registry has no filter expressions")
        return _find(request)(state, request, now)
    except RefusedError as refusal:
        return Answer(status=refusal.status, body=str(refusal).encode(), content_type="text/plain")


def blocking(request: Request) -> tuple[int, float]:
    """The index a request waits beyond (0: does not wait) and for how many seconds at most.

    Raises RefusedError.
    """
    given = request.query.get("index", "") or "0"
    if not given.isdecimal():
        raise RefusedError(400, "Invalid index")
    wait = request.query.get("wait", "")
    try:
        longest = durations.seconds(wait) if wait else DEFAULT_WAIT
    except ValueError:
        raise RefusedError(400, "Invalid wait time") from None
    return int(given), min(longest or DEFAULT_WAIT, LONGEST_WAIT)


def _find(request: Request) -> Callable[[State, Request, float], Answer]:
    allowed: set[str] = set()
    for methods, pattern, route in _ROUTES:
        match = pattern.fullmatch(request.path)
        if match is None:
            continue
        if request.method in methods.split():
            name = match.group(1) if match.groups() else ""
            return lambda state, request, now: route(state, request, name, now)
        allowed.update(methods.split())
    if allowed:
        raise RefusedError(405, f"method {request.method} not allowed")
    raise RefusedError(404, f"the embedded registry has no {request.path}")


# agent


def _agent(_state: State, _request: Request, _name: str, _now: float) -> Answer:
    return json_answer(answers.agent(VERSION))


def _agent_services(state: State, _request: Request, _name: str, _now: float) -> Answer:
    return json_answer(
        {name: answers.agent_service(one) for name, one in state.journal.services.items()}
    )


def _agent_checks(state: State, _request: Request, _name: str, _now: float) -> Answer:
    own = {name: one for name, one in state.journal.checks.items() if name != "serfHealth"}
    return json_answer({name: answers.check(one) for name, one in own.items()})


def _register(state: State, request: Request, _name: str, now: float) -> Answer:
    service, checks = bodies.service(request.body)
    state.register(service, checks, now, replace_checks=request.flag("replace-existing-checks"))
    return Answer()


def _deregister(state: State, _request: Request, name: str, now: float) -> Answer:
    if not state.deregister(name, now):
        raise RefusedError(404, f'Unknown service ID "{name}". Ensure that the ID is right.')
    return Answer()


def _register_check(state: State, request: Request, _name: str, now: float) -> Answer:
    state.add_check(bodies.check(request.body), now)
    return Answer()


def _deregister_check(state: State, _request: Request, name: str, now: float) -> Answer:
    if not state.remove_check(name, now):
        raise RefusedError(404, f'Unknown check ID "{name}". Ensure that the ID is right.')
    return Answer()


def _update(state: State, request: Request, name: str, now: float) -> Answer:
    status, output = bodies.report(request.body)
    state.report(name, status, output, now)
    return Answer()


def _reporter(status: str) -> Route:
    def route(state: State, request: Request, name: str, now: float) -> Answer:
        state.report(name, bodies.status(status), request.query.get("note", ""), now)
        return Answer()

    return route


# catalog and health


def _instances(state: State, request: Request, name: str) -> list[Service]:
    tag = request.query.get("tag")
    found = [
        one
        for one in state.journal.services.values()
        if one.name == name and (tag is None or tag in one.tags)
    ]
    return sorted(found, key=lambda one: one.id)


def _catalog_services(state: State, _request: Request, _name: str, _now: float) -> Answer:
    names: dict[str, list[str]] = {"consul": []}
    for one in state.journal.services.values():
        names[one.name] = sorted({*names.get(one.name, ()), *one.tags})
    return json_answer(names, state, Topic("service"))


def _catalog_service(state: State, request: Request, name: str, _now: float) -> Answer:
    found = [answers.catalog(one) for one in _instances(state, request, name)]
    return json_answer(found, state, Topic("service", name))


def _nodes(state: State, _request: Request, _name: str, _now: float) -> Answer:
    return json_answer([answers.node()], state, Topic("check"))


def _health_service(state: State, request: Request, name: str, _now: float) -> Answer:
    node_checks = state.checks_of("")
    found: list[dict[str, Any]] = []
    for one in _instances(state, request, name):
        checks = [*node_checks, *state.checks_of(one.id)]
        if request.flag("passing") and any(check.status != "passing" for check in checks):
            continue
        found.append(answers.health(one, checks))
    return json_answer(found, state, Topic("service", name))


def _health(keep: Callable[[Check, str], bool], topic: Callable[[str], Topic]) -> Route:
    def route(state: State, _request: Request, name: str, _now: float) -> Answer:
        found = [one for one in state.journal.checks.values() if keep(one, name)]
        found.sort(key=lambda one: one.id)
        return json_answer([answers.check(one) for one in found], state, topic(name))

    return route


# sessions


def _create_session(state: State, request: Request, _name: str, now: float) -> Answer:
    session = bodies.session(request.body, answers.NODE)
    return json_answer({"ID": state.create_session(session, now)})


def _destroy_session(state: State, _request: Request, name: str, now: float) -> Answer:
    state.destroy_session(name, now)
    return json_answer(True)


def _renew_session(state: State, _request: Request, name: str, now: float) -> Answer:
    session = state.renew_session(name, now)
    if session is None:
        raise RefusedError(404, f"Session id '{name}' not found")
    return json_answer([answers.session(session)])


def _session(state: State, _request: Request, name: str, _now: float) -> Answer:
    session = state.journal.sessions.get(name)
    found = [answers.session(session)] if session else []
    return json_answer(found, state, Topic("session", name))


def _sessions(state: State, _request: Request, name: str, _now: float) -> Answer:
    found = sorted(state.journal.sessions.values(), key=lambda one: one.id)
    if name not in ("", answers.NODE):
        found = []
    return json_answer([answers.session(one) for one in found], state, Topic("session"))


# status


def _leader(_state: State, _request: Request, _name: str, _now: float) -> Answer:
    return json_answer(f"{answers.ADDRESS}:8300")


def _peers(_state: State, _request: Request, _name: str, _now: float) -> Answer:
    return json_answer([f"{answers.ADDRESS}:8300"])


_BY_NODE = _health(lambda _, name: name == answers.NODE, lambda _: Topic("check"))
_BY_SERVICE = _health(lambda one, name: one.service_name == name, lambda n: Topic("service", n))
_BY_STATE = _health(lambda one, name: name in ("any", one.status), lambda _: Topic("check"))

_ROUTES: list[tuple[str, re.Pattern[str], Route]] = [
    (methods, re.compile("/v1/" + pattern, re.DOTALL), route)
    for methods, pattern, route in (
        ("GET", r"agent/self", _agent),
        ("GET", r"agent/services", _agent_services),
        ("GET", r"agent/checks", _agent_checks),
        ("PUT", r"agent/service/register", _register),
        ("PUT", r"agent/service/deregister/(.+)", _deregister),
        ("PUT", r"agent/check/register", _register_check),
        ("PUT", r"agent/check/deregister/(.+)", _deregister_check),
        ("PUT", r"agent/check/update/(.+)", _update),
        ("PUT", r"agent/check/pass/(.+)", _reporter("passing")),
        ("PUT", r"agent/check/warn/(.+)", _reporter("warning")),
        ("PUT", r"agent/check/fail/(.+)", _reporter("critical")),
        ("GET", r"catalog/nodes", _nodes),
        ("GET", r"catalog/services", _catalog_services),
        ("GET", r"catalog/service/(.+)", _catalog_service),
        ("GET", r"health/service/(.+)", _health_service),
        ("GET", r"health/checks/(.+)", _BY_SERVICE),
        ("GET", r"health/node/(.+)", _BY_NODE),
        ("GET", r"health/state/(any|passing|warning|critical)", _BY_STATE),
        ("GET PUT DELETE", r"kv/(.*)", kv),
        ("PUT", r"session/create", _create_session),
        ("PUT", r"session/destroy/(.+)", _destroy_session),
        ("PUT", r"session/renew/(.+)", _renew_session),
        ("GET", r"session/info/(.+)", _session),
        ("GET", r"session/node/(.+)", _sessions),
        ("GET", r"session/list", _sessions),
        ("PUT", r"txn", transaction),
        ("GET", r"status/leader", _leader),
        ("GET", r"status/peers", _peers),
    )
]
