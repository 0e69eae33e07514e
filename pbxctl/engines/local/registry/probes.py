"""Runs http and tcp checks, each at its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import httpx
import msgspec
import trio

from pbxctl.engines.local.registry.records import Check, Status

_SHOWN = 512
"""Characters of an answer that are kept for people to read."""

Report = Callable[[Check, Status, str], None]


class Probes:
    """One task a check, in ``nursery``; ``report`` is told every result."""

    def __init__(self, nursery: trio.Nursery, report: Report) -> None:
        self._nursery = nursery
        self._report = report
        self._running: dict[Check, trio.CancelScope] = {}

    def sync(self, checks: Iterable[Check]) -> None:
        """Make the tasks match ``checks``: those that stay are not disturbed."""
        wanted = {_definition(check) for check in checks if check.kind != "ttl"}
        for check in self._running.keys() - wanted:
            self._running.pop(check).cancel()
        for check in wanted - self._running.keys():
            scope = trio.CancelScope()
            self._running[check] = scope
            self._nursery.start_soon(self._run, check, scope)

    async def _run(self, check: Check, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                due = trio.current_time() + check.interval
                status, output = await probe(check)
                self._report(check, status, output)
                await trio.sleep_until(due)


def _definition(check: Check) -> Check:
    return msgspec.structs.replace(check, status="critical", output="", created=0, modified=0)


async def probe(check: Check) -> tuple[Status, str]:
    """One run: the status as Consul gives it (http: 2xx passes, 429 warns), and what was seen."""
    try:
        with trio.fail_after(check.timeout):
            return await (_http(check) if check.kind == "http" else _tcp(check))
    except trio.TooSlowError:
        return "critical", f"{check.target}: no answer within {check.timeout:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return "critical", f"{check.target}: {error or type(error).__name__}"


async def _http(check: Check) -> tuple[Status, str]:
    headers = [(name, value) for name, values in check.headers for value in values]
    async with httpx.AsyncClient(trust_env=False, timeout=None) as client:  # noqa: S113 - in a scope
        answer = await client.request(
            check.method, check.target, headers=headers, content=check.body.encode()
        )
    text = f"HTTP {check.method} {check.target}: {answer.status_code} {answer.reason_phrase}"
    if answer.text:
        text += f" Output: {answer.text[:_SHOWN]}"
    if answer.is_success:
        return "passing", text
    return ("warning" if answer.status_code == 429 else "critical"), text


async def _tcp(check: Check) -> tuple[Status, str]:
    host, _, port = check.target.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("a tcp check is host:port")
    stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
    await stream.aclose()
    return "passing", f"TCP connect {check.target}: Success"
