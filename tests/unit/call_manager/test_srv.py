"""SRV records: their order (RFC 2782), and a resolver against a DNS server on loopback."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager import srv
from services.call_manager.resolver import Resolver
from services.call_manager.srv import Target
from services.core.configuration import Trunk

TARGETS = st.lists(
    st.builds(
        Target,
        priority=st.integers(0, 3),
        weight=st.integers(0, 65535),
        port=st.integers(1, 65535),
        host=st.sampled_from(("a.example.", "b.example.", "c.example.")),
    ),
    max_size=8,
)


@given(TARGETS, st.randoms(use_true_random=False))
def test_order_keeps_all_and_goes_by_priority(targets: list[Target], chance: random.Random) -> None:
    found = srv.order(targets, lambda top: chance.randint(0, top))
    assert sorted(found) == sorted(targets)
    assert [one.priority for one in found] == sorted(one.priority for one in targets)


def test_weight_decides_how_often_one_is_first() -> None:
    chance = random.Random(1)  # noqa: S311 - the same every time
    targets = [Target(1, 60, 1, "a."), Target(1, 20, 2, "b."), Target(1, 0, 3, "c.")]
    first = Counter(
        srv.order(targets, lambda top: chance.randint(0, top))[0].host for _ in range(4000)
    )
    assert 2.5 < first["a."] / first["b."] < 3.5
    assert 0 < first["c."] < 200


def test_the_root_means_no_service() -> None:
    assert srv.order([Target(0, 0, 5060, ".")]) == []
    assert srv.name("sip.example.", "tls") == "_sips._tcp.sip.example"


class Server:
    """Answers from ``records``, by name and type; with SERVFAIL while ``broken``."""

    def __init__(self, own: socket.socket) -> None:
        self.socket = own
        self.records: dict[tuple[str, str], list[str]] = {}
        self.broken = False

    def serve(self) -> None:
        while True:
            data, source = self.socket.recvfrom(65535)
            if not data:
                return
            query = dns.message.from_wire(data)
            question = query.question[0]
            kind = question.rdtype.name
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.RA
            known = {name for name, _ in self.records}
            name = question.name.to_text()
            if self.broken:
                reply.set_rcode(dns.rcode.SERVFAIL)
            elif name not in known:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            elif found := self.records.get((name, kind)):
                reply.answer.append(dns.rrset.from_text(name, 1, "IN", kind, *found))
            self.socket.sendto(reply.to_wire(), source)

    def client(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.socket.getsockname()[1]
        return resolver


@contextmanager
def server() -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        found = Server(own)
        thread = Thread(target=found.serve)
        thread.start()
        try:
            yield found
        finally:
            own.sendto(b"", own.getsockname())
            thread.join(5)


async def test_a_resolver_goes_by_srv() -> None:
    with server() as dns_server:
        dns_server.records = {
            ("_sip._udp.carrier.example.", "SRV"): [
                "20 1 5060 backup.example.",
                "10 1 5080 main.example.",
            ],
            ("main.example.", "A"): ["192.0.2.1"],
            ("main.example.", "AAAA"): ["2001:db8::1"],
            ("backup.example.", "A"): ["192.0.2.2"],
            ("_sip._tcp.localhost.", "TXT"): ["x"],
        }
        resolver = Resolver(dns_server.client)
        trunks = (
            Trunk(name="carrier", host="carrier.example"),
            Trunk(name="plain", host="localhost", transport="tcp"),
            Trunk(name="port", host="localhost", port=5070),
            Trunk(name="address", host="192.0.2.9"),
            Trunk(name="none", host="nowhere.invalid"),
        )
        assert await resolver.resolve(trunks)
        assert resolver.addresses["carrier"] == ("192.0.2.1", "2001:db8::1", "192.0.2.2")
        assert resolver.ports["carrier"] == 5080
        for name in ("plain", "port"):
            assert resolver.addresses[name][0] == "127.0.0.1"
            assert resolver.ports[name] == 0
        assert resolver.addresses["address"] == ("192.0.2.9",)
        assert set(resolver.problems) == {"none"}
        # No answer is no change; an answer that there is nothing any more is one.
        dns_server.broken = True
        assert not await resolver.resolve(trunks)
        dns_server.broken = False
        dns_server.records["_sip._udp.carrier.example.", "SRV"] = ["10 1 5090 backup.example."]
        assert await resolver.resolve(trunks)
        assert (resolver.addresses["carrier"], resolver.ports["carrier"]) == (("192.0.2.2",), 5090)
        assert await resolver.resolve(trunks[1:])
        assert "carrier" not in resolver.addresses


async def test_the_order_is_drawn_once() -> None:
    with server() as dns_server:
        hosts = [f"h{n}.example." for n in range(8)]
        dns_server.records = {(host, "A"): [f"192.0.2.{n}"] for n, host in enumerate(hosts, 1)}
        dns_server.records["_sips._tcp.c.example.", "SRV"] = [f"1 1 5061 {host}" for host in hosts]
        resolver = Resolver(dns_server.client)
        trunk = Trunk(name="c", host="c.example", transport="tls")
        assert await resolver.resolve([trunk])
        for _ in range(5):
            assert not await resolver.resolve([trunk])
        assert len(resolver.addresses["c"]) == 8
