"""The agent's HTTP side: what every role has, and rtpengine's word that a call's media are gone."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Gauge

from services.core.admin import Application, authorized_router
from services.media.keys import Pressed
from services.media.status import State

PATH = "/rtpengine"
MAX_BODY = 65536


def keys_router(pressed: Callable[[list[str]], dict[str, Pressed]]) -> APIRouter:
    """What an application server asks that goes on with calls of another."""
    routes = authorized_router(tags=["calls"])

    @routes.post("/v1/digits")
    async def digits(calls: list[str]) -> dict[str, Pressed]:  # pyright: ignore[reportUnusedFunction]
        """The keys pressed lately in these calls, by Call-ID: each with its age in seconds."""
        return pressed(calls)

    return routes


class Metrics:
    """Prometheus gauges of a media server; `update` sets them all."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def update(self, values: dict[str, tuple[float, str]]) -> None:
        """``values``: name → value and help."""
        for name, (value, explanation) in values.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(name, explanation, registry=self.registry)
            self._gauges[name].set(value)


def metrics(state: State) -> dict[str, tuple[float, str]]:
    """What a media server measures of itself."""
    return {
        "pbx_media_up": (state.availability.up, "1 while the check of RTP passes"),
        "pbx_media_echo_seconds": (state.echo, "Time of the last RTP packet there and back"),
        "pbx_media_sessions": (state.sessions, "Calls on rtpengine"),
        "pbx_media_capacity": (state.capacity, "Calls it is meant for"),
        "pbx_media_transcoded": (state.transcoded, "Media streams being transcoded"),
        "pbx_media_packets_per_second": (state.packet_rate, "RTP packets relayed"),
        "pbx_media_recordings": (state.recordings, "Calls being recorded"),
        "pbx_media_recordings_unindexed": (state.unindexed, "Not yet in the index"),
        "pbx_media_recording_stopped": (bool(state.recording_stopped), "1 while the disk is full"),
        "pbx_media_recording_disk_free_bytes": (state.disk_free, "Room for recordings"),
        "pbx_media_addresses": (len(state.serving), "Floating addresses that are here"),
        "pbx_media_sessions_served": (state.mirrored[0], "Mirrored sessions served here"),
        "pbx_media_sessions_copied": (state.mirrored[1], "Copies of other servers' sessions"),
        "pbx_media_sessions_handed_over": (state.handed_over, "Sessions given to other servers"),
        "pbx_media_mirror_up": (not state.mirror_problem, "1 while Redis takes sessions"),
        "pbx_media_announcements": (state.announcements, "Callers who hear an announcement"),
    }


def read_teardown(body: bytes) -> str:
    """The Call-ID in rtpengine's XML-RPC call ``teardown(call-id)`` (its xmlrpc-format 1).

    Raises ValueError if it is something else.
    """
    try:
        # From this host's own rtpengine, and short; today's expat stops entity bombs by itself.
        parameters, method = xmlrpc.client.loads(body)
    except Exception as error:  # noqa: BLE001 - expat's, ResponseError's, Fault's: all mean this
        raise ValueError(f"not XML-RPC: {error}") from None
    if method != "teardown" or len(parameters) != 1 or not isinstance(parameters[0], str):
        raise ValueError(f"unexpected method {method!r}")
    return parameters[0]


def sources(own_address: str) -> frozenset[str]:
    """Where what this host sends to its own address comes from: the loopback address, too."""
    return frozenset({own_address, "127.0.0.1", "::1"})


def with_teardown(app: Application, own_address: str, gone: Callable[[str], None]) -> Application:
    """``app`` with `PATH`, which this host's rtpengine calls, and nobody else may.

    rtpengine can send no token but in its command line, where any local user reads it; the
    connection's source address says as much.
    """
    here = sources(own_address)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await app(scope, receive, send)
            return
        client = scope.get("client")
        if scope["method"] != "POST" or not client or client[0] not in here:
            await _answer(send, 403, "text/plain", b"this is for this host's rtpengine alone\n")
            return
        body = b""
        more = True
        while more and len(body) <= MAX_BODY:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            gone(read_teardown(body))
        except ValueError as error:
            await _answer(send, 400, "text/plain", f"{error}\n".encode())
            return
        done = xmlrpc.client.dumps(("done",), methodresponse=True)
        await _answer(send, 200, "text/xml", done.encode())

    return serve


async def _answer(send: Any, status: int, kind: str, body: bytes) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
