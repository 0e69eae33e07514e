"""The JSON that services send, as records. Field names in any case, as Consul takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pbxctl.engines.local import durations
from pbxctl.engines.local.registry.records import (
    SERF_HEALTH,
    Check,
    RefusedError,
    Service,
    Session,
    Status,
)

_STATUSES = ("passing", "warning", "critical")
_SECONDS_BELOW = 1000
"""A LockDelay given as a number below this is seconds, above it nanoseconds, as in Consul."""


class Body:
    """A JSON object whose fields are taken one by one; what is left over is refused."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self._name = name
        self._fields = {_plain(key): (key, value) for key, value in fields.items()}

    @classmethod
    def read(cls, name: str, data: bytes) -> Body:
        """Raises RefusedError if ``data`` is not a JSON object."""
        try:
            return cls(name, msgspec.json.decode(data or b"{}", type=dict[str, Any]))
        except ValueError as error:
            raise RefusedError(400, f"Request decode failed: {error}") from None

    def take(self, field: str, kind: Any, default: Any) -> Any:
        """A field of this JSON type, or ``default`` where it is missing or null."""
        key, value = self._fields.pop(_plain(field), (field, None))
        if value is None:
            return default
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise RefusedError(400, f"Request decode failed: {self._name}.{key}: {error}") from None

    def duration(self, field: str, default: float = 0.0) -> float:
        """Seconds, from a Go duration or a number of nanoseconds."""
        given = self.take(field, str | int | float, "")
        if isinstance(given, int | float):
            return given / 1e9
        try:
            return durations.seconds(given) if given else default
        except ValueError as error:
            raise RefusedError(400, f"Invalid {field}: {error}") from None

    def end(self) -> None:
        """Refuse what nobody took."""
        left = sorted(key for key, value in self._fields.values() if value not in (None, "", [], 0))
        if left:
            raise RefusedError(
                400, f"the embedded registry has no {self._name} field {', '.join(left)}"
            )


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def service(data: bytes) -> tuple[Service, list[Check]]:
    """The body of ``agent/service/register``. Raises RefusedError."""
    body = Body.read("service", data)
    name = body.take("Name", str, "")
    if not name:
        raise RefusedError(400, "Missing service name")
    weights = Body("Weights", body.take("Weights", dict[str, Any], {}))
    tags = tuple(body.take("Tags", list[str], []))
    made = Service(
        id=body.take("ID", str, "") or name,
        name=name,
        address=body.take("Address", str, ""),
        port=body.take("Port", int, 0),
        tags=tags,
        meta=body.take("Meta", dict[str, str], {}),
        enable_tag_override=body.take("EnableTagOverride", bool, False),
        weights=(weights.take("Passing", int, 1), weights.take("Warning", int, 1)),
    )
    single = body.take("Check", dict[str, Any], None)
    given = [*([single] if single else []), *body.take("Checks", list[dict[str, Any]], [])]
    body.end()
    checks: list[Check] = []
    for number, fields in enumerate(given, start=1):
        default = f"service:{made.id}" if len(given) == 1 else f"service:{made.id}:{number}"
        check_body = Body("check", fields)
        checks.append(_check(check_body, default, f"Service '{name}' check", made.id))
    return made, checks


def check(data: bytes) -> Check:
    """The body of ``agent/check/register``. Raises RefusedError."""
    body = Body.read("check", data)
    name = body.take("Name", str, "")
    if not name:
        raise RefusedError(400, "Missing check name")
    return _check(body, name, name, body.take("ServiceID", str, ""))


def _check(body: Body, check_id: str, name: str, service_id: str) -> Check:
    given_id = body.take("CheckID", str, "") or body.take("ID", str, "")
    http, tcp = body.take("HTTP", str, ""), body.take("TCP", str, "")
    ttl, interval = body.duration("TTL"), body.duration("Interval")
    if bool(http) + bool(tcp) + bool(ttl) != 1:
        raise RefusedError(400, "Invalid check: it must have one of TTL, HTTP and TCP")
    if not ttl and interval <= 0:
        raise RefusedError(400, "Invalid check: Interval must be > 0 for HTTP and TCP checks")
    headers = body.take("Header", dict[str, list[str]], {})
    made = Check(
        id=given_id or check_id,
        name=body.take("Name", str, "") or name,
        service=service_id,
        kind="http" if http else "tcp" if tcp else "ttl",
        target=http or tcp,
        method=body.take("Method", str, "") or "GET",
        headers=tuple((key, tuple(values)) for key, values in sorted(headers.items())),
        body=body.take("Body", str, ""),
        ttl=ttl,
        interval=interval,
        timeout=body.duration("Timeout", 10.0),
        deregister_after=body.duration("DeregisterCriticalServiceAfter"),
        notes=body.take("Notes", str, ""),
        status=status(body.take("Status", str, "") or "critical"),
        output=body.take("Output", str, ""),
    )
    body.end()
    return made


def status(text: str) -> Status:
    """A check's status. Raises RefusedError for any other word."""
    if text not in _STATUSES:
        raise RefusedError(400, f"Invalid check status: '{text}'")
    return text


def report(data: bytes) -> tuple[Status, str]:
    """The body of ``agent/check/update``: status and output. Raises RefusedError."""
    body = Body.read("check", data)
    found = status(body.take("Status", str, ""))
    return found, body.take("Output", str, "")


def session(data: bytes, node: str) -> Session:
    """The body of ``session/create``, with no id yet. Raises RefusedError."""
    body = Body.read("session", data)
    behavior = body.take("Behavior", str, "") or "release"
    if behavior not in ("release", "delete"):
        raise RefusedError(500, f"Invalid Behavior setting '{behavior}'")
    if body.take("Node", str, "") not in ("", node):
        raise RefusedError(500, "Missing node registration")
    delay = body.take("LockDelay", str | int | float, "15s")
    if isinstance(delay, int | float):
        lock_delay = float(delay) if delay < _SECONDS_BELOW else delay / 1e9
    else:
        lock_delay = Body("session", {"LockDelay": delay}).duration("LockDelay", 15.0)
    named: Iterable[str] = body.take("Checks", list[str], None) or (SERF_HEALTH,)
    ids = [str(one.get("ID", "")) for one in body.take("ServiceChecks", list[dict[str, Any]], [])]
    made = Session(
        id="",
        name=body.take("Name", str, ""),
        ttl=body.duration("TTL"),
        lock_delay=lock_delay,
        behavior=behavior,
        node_checks=tuple(body.take("NodeChecks", list[str], None) or named),
        service_checks=tuple(ids),
    )
    body.end()
    return made
