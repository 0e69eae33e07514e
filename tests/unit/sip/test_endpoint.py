"""Transactions over a bad network: RFC 3261 section 17 and RFC 6026, by the clock and by chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.sip.endpoint import Endpoint
from services.core.sip.exchange import Flow, Incoming
from services.core.sip.message import Response, compose
from tests.unit.sip.network import Fate, Network, Recorder, fields

A, B = "192.0.2.1", "192.0.2.2"
FATES = st.lists(st.lists(st.floats(0.001, 3.0), max_size=2).map(tuple), max_size=40)


def pair(
    react: object, fates: list[Fate] | None = None, transport: str = "udp"
) -> tuple[Network, Endpoint, Recorder]:
    network = Network(iter(fates or []))
    a, b = network.endpoint(A, transport), network.endpoint(B, transport)
    a.user = Recorder()
    user = Recorder(react)  # type: ignore[arg-type]
    b.user = user
    return network, a, user


def to(transport: str = "udp") -> Flow:
    return Flow(transport, B, 5060)


def accepts(incoming: Incoming) -> None:
    incoming.respond(200, tag="b1")


class Caller:
    """Sends a request and notes what comes; sends ACK for each 2xx to an INVITE."""

    def __init__(self, endpoint: Endpoint, method: str, transport: str = "udp") -> None:
        self.endpoint, self.method = endpoint, method
        self.heard: list[Response | None] = []
        self.flow = to(transport)
        self.outgoing = endpoint.request(
            method, "sip:b@b", fields(method), b"", self.flow, self._came
        )

    def _came(self, response: Response | None) -> None:
        self.heard.append(response)
        if self.method == "INVITE" and response is not None and 200 <= response.status < 300:
            self.endpoint.acknowledge(
                "sip:b@b", fields("ACK", to="<sip:b@b>;tag=b1"), b"", self.flow
            )

    @property
    def finals(self) -> list[int]:
        """Status of final responses; 0 for none at all."""
        return [0 if r is None else r.status for r in self.heard if r is None or r.status >= 200]


@given(FATES, st.sampled_from([200, 486]))
def test_invite_on_a_bad_network(fates: list[Fate], status: int) -> None:
    """The callee sees one INVITE, the caller one outcome, and in the end nothing is left."""
    network, a, user = pair(lambda incoming: incoming.respond(status, tag="b1"), fates)
    caller = Caller(a, "INVITE")
    network.run(200.0)
    assert len(user.requests) <= 1
    if status == 200:
        assert caller.finals in ([], *([200] * n for n in range(1, 30))) or caller.finals == [0]
    else:
        assert caller.finals in ([486], [0])
    if not user.requests:
        assert caller.finals == [0]
    assert not len(a)
    assert not len(network.endpoints[B])
    assert network.endpoints[B].next_due() == float("inf")


@given(FATES)
def test_other_requests_on_a_bad_network(fates: list[Fate]) -> None:
    network, a, user = pair(accepts, fates)
    caller = Caller(a, "OPTIONS")
    network.run(200.0)
    assert len(user.requests) <= 1
    assert caller.finals in ([200], [0])
    assert not len(a)
    assert not len(network.endpoints[B])


@given(FATES, st.floats(0.0, 2.0), st.booleans())
def test_cancel_on_a_bad_network(fates: list[Fate], when: float, rings: bool) -> None:
    """However CANCEL and answer cross, both sides come to an end."""

    def react(incoming: Incoming) -> None:
        if rings:
            incoming.respond(180, tag="b1")
        incoming.listener = lambda _: incoming.respond(487, tag="b1")

    network, a, user = pair(react, fates)
    caller = Caller(a, "INVITE")
    network.run(when)
    caller.outgoing.cancel()
    network.run(when + 100)
    for incoming in user.requests:
        incoming.respond(487, tag="b1")  # the callee gives up some time
    network.run(when + 300)
    assert caller.finals in ([487], [0])
    assert not len(a)
    assert not len(network.endpoints[B])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_nothing_is_kept_longer_than_it_must(transport: str) -> None:
    network, a, _ = pair(accepts, transport=transport)
    Caller(a, "INVITE", transport)
    Caller(a, "OPTIONS", transport)
    network.run(1.0)
    waits = len(a) + len(network.endpoints[B])
    assert waits == (4 if transport == "udp" else 2)  # RFC 6026: an accepted INVITE, 64*T1 in both
    network.run(33.0)
    assert not len(a) + len(network.endpoints[B])


def test_an_answer_that_nobody_acknowledges() -> None:
    network = Network()
    a, b = network.endpoint(A), network.endpoint(B)
    a.user, user = Recorder(), Recorder(accepts)
    b.user = user
    heard: list[Response | None] = []
    a.request("INVITE", "sip:b@b", fields("INVITE"), b"", to(), heard.append)
    network.run(31.0)
    assert len(heard) == 10  # at once, then after T1, 2*T1, 4*T1 and each T2
    assert user.said == []
    network.run(33.0)
    assert user.said == ["expired"]


def test_a_call_that_nobody_answers() -> None:
    network, a, user = pair(None, [()] * 20)
    caller = Caller(a, "INVITE")
    network.run(31.9)
    assert caller.heard == []
    network.run(32.1)
    assert caller.heard == [None]
    assert user.requests == []


def test_merged_requests() -> None:
    """The same request by another way: 482 (RFC 3261 section 8.2.2.2), but not a later attempt."""
    network, a, user = pair(lambda incoming: incoming.respond(180, tag="b1"))
    Caller(a, "INVITE")
    network.run(0.1)
    second = Caller(a, "INVITE")
    network.run(0.2)
    assert second.finals == [482]
    user.requests[0].respond(486, tag="b1")
    network.run(0.3)
    third = Caller(a, "INVITE")
    network.run(0.4)
    assert third.finals == []
    assert len(user.requests) == 2


def test_reliable_provisional_response_is_repeated_and_given_up() -> None:
    """RFC 3262 section 3: T1, doubled, for 64*T1."""

    def react(incoming: Incoming) -> None:
        incoming.respond(183, tag="b1", fields=[("Require", "100rel"), ("RSeq", "1")], prack=True)

    network, a, user = pair(react)
    caller = Caller(a, "INVITE")
    network.run(31.0)
    assert len(caller.heard) == 6
    network.run(33.0)
    assert user.said == ["expired"]
    user.requests[0].respond(504, tag="b1")
    network.run(100.0)
    assert caller.finals == [504]
    assert not len(network.endpoints[B])


def test_a_flood_leaves_nothing() -> None:
    """INVITEs whose senders never say ACK are forgotten; past the limit there is a 503."""
    network = Network()
    b = network.endpoint(B)
    b.limit = 1000
    user = Recorder(accepts)
    b.user = user
    sent: list[bytes] = []
    b.emit = lambda data, _: sent.append(data)
    for n in range(1500):
        via = ("Via", f"SIP/2.0/UDP {A}:5060;branch=z9hG4bKf{n}")
        data = compose("INVITE sip:b@b SIP/2.0", [via, *fields("INVITE", call_id=f"f{n}")])
        b.receive(data, Flow("udp", A, 5060))
    assert len(b) == 1000
    assert sum(data.startswith(b"SIP/2.0 503") for data in sent) == 500
    network.run(40.0)
    assert not len(b)
    assert not b._merged
    assert user.said == ["expired"] * 1000


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_garbage(datagrams: list[bytes]) -> None:
    network = Network()
    b = network.endpoint(B)
    b.user = Recorder(accepts)
    for datagram in datagrams:
        b.receive(datagram, Flow("udp", A, 5060))
    network.run(100.0)
    assert not len(b)


def test_lost_connection() -> None:
    _, a, _ = pair(None, transport="tcp")
    caller = Caller(a, "OPTIONS", "tcp")
    a.lost(to("tcp"))
    assert caller.heard == [None]
    assert not len(a)
