"""A network that loses, repeats and reorders, with a clock of its own, between two endpoints."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from services.core.sip.endpoint import Endpoint
from services.core.sip.exchange import Flow, Incoming
from services.core.sip.message import Request, Response

Fate = tuple[float, ...]
"""When the copies of a datagram arrive, seconds after it was sent; empty: it is lost."""


class Network:
    """``fates`` are those of the datagrams in the order in which they are sent; then: all well."""

    def __init__(self, fates: Iterator[Fate] | None = None) -> None:
        self.now = 0.0
        self._fates = fates or iter(())
        self._flying: list[tuple[float, int, str, bytes, Flow]] = []
        self._count = 0
        self.endpoints: dict[str, Endpoint] = {}

    def endpoint(self, host: str, transport: str = "udp") -> Endpoint:
        """One more endpoint, which sends and is reached over ``transport``."""

        def send(data: bytes, flow: Flow) -> None:
            fate = next(self._fates, (0.01,)) if transport == "udp" else (0.01,)
            for delay in fate:
                self._count += 1
                source = Flow(transport, host, 5060)
                item = (self.now + delay, self._count, flow.host, data, source)
                heapq.heappush(self._flying, item)

        endpoint = Endpoint(send, lambda: self.now, lambda _: f"{host}:5060")
        self.endpoints[host] = endpoint
        return endpoint

    def run(self, until: float, check: Callable[[], None] | None = None) -> None:
        """Let time go by."""
        while True:
            due = min(endpoint.next_due() for endpoint in self.endpoints.values())
            if self._flying:
                due = min(due, self._flying[0][0])
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, host, data, source = heapq.heappop(self._flying)
                if host in self.endpoints:
                    self.endpoints[host].receive(data, source)
            for endpoint in self.endpoints.values():
                endpoint.tick()
            if check is not None:
                check()


class Recorder:
    """A user that does ``react`` with each request, and notes all that it is told."""

    def __init__(self, react: Callable[[Incoming], None] | None = None) -> None:
        self.requests: list[Incoming] = []
        self.acks: list[Request] = []
        self.strays: list[Response] = []
        self.said: list[str] = []
        self._react = react

    def request_came(self, incoming: Incoming) -> None:
        self.requests.append(incoming)
        incoming.listener = self.said.append
        if self._react is not None:
            self._react(incoming)

    def acknowledgement(self, request: Request, flow: Flow) -> None:
        del flow
        self.acks.append(request)
        for incoming in self.requests:
            if incoming.request.cseq == request.cseq:
                incoming.acknowledged()

    def response(self, response: Response, flow: Flow) -> None:
        del flow
        self.strays.append(response)


def fields(method: str, call_id: str = "c1", to: str = "<sip:b@b>") -> list[tuple[str, str]]:
    """Header fields of a request."""
    return [
        ("Max-Forwards", "70"),
        ("From", "<sip:a@a>;tag=a1"),
        ("To", to),
        ("Call-ID", call_id),
        ("CSeq", f"1 {method}"),
        ("Contact", "<sip:a@192.0.2.1>"),
    ]
