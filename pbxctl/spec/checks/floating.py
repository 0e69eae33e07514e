"""What moves between the servers of a cluster: the IPv6 VIP and the media addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.formats import Address
from pbxctl.spec.model import MOST_MEDIA_ADDRESSES, Install, Server, pool

VIP6 = ("network", "vip6")
POOL = ("network", "media_addresses")


def check(draft: Draft, report: Report) -> None:
    """On one machine nothing moves; on several each can take what moves, and nobody has it yet."""
    if draft.engine == "local":
        _one_machine(draft, report)
        return
    _vip6(draft, report)
    addresses = _pool(draft, report)
    for index, server in draft.servers:
        if "media" in server.roles:
            _media(draft, index, server, addresses, report)
    if sum("media" in server.roles for _, server in draft.servers) > 1:
        _fixed(draft, report)


def _one_machine(draft: Draft, report: Report) -> None:
    if draft.network.vip6:
        report.add(VIP6, "on one machine there is no VIP to move; leave it out")
    if draft.network.media_addresses:
        report.add(POOL, "on one machine no media address moves; leave it out")
    if draft.install != Install():
        report.add(("install",), "on one machine pbxctl's own installation runs; leave it out")


def _vip6(draft: Draft, report: Report) -> None:
    vip6 = draft.network.vip6
    if not vip6:
        return
    found = ip_interface(vip6)
    if found.version != 6:
        report.add(VIP6, f"{found.ip} is no IPv6 address; an IPv4 one is vip")
    elif "/" not in vip6:
        report.add(VIP6, f"needs its prefix length, such as {vip6}/64")
    elif owner := _owner(draft, found.ip):
        report.add(VIP6, f"{found.ip} is the address of {owner}; the VIP must be free to move")
    elif draft.network.vip and found.ip == ip_address(draft.network.vip):
        report.add(VIP6, f"{found.ip} is vip as well; leave it out")


def _pool(draft: Draft, report: Report) -> frozenset[Address]:
    """The pool's addresses, empty if the spec has none or too many."""
    found = list(pool(draft.network.media_addresses))
    if len(found) > MOST_MEDIA_ADDRESSES:
        text = f"more than {MOST_MEDIA_ADDRESSES} addresses; every media server listens on each"
        report.add(POOL, f"{text}: give those that are wanted, and some to spare")
        return frozenset()
    for address in sorted(set(found), key=str):
        if owner := _owner(draft, address):
            report.add(POOL, f"{address} is the address of {owner}; these must be free to move")
        if draft.network.vip and address == ip_address(draft.network.vip):
            report.add(POOL, f"{address} is the VIP; it cannot carry media too")
        _in_network(draft, address, POOL, report)
    return frozenset(found)


def _media(
    draft: Draft, index: int, server: Server, addresses: frozenset[Address], report: Report
) -> None:
    if not server.floats:
        return
    where = ("servers", index, "address")
    what = f"{server.name} could take over no media address"
    _in_network(draft, ip_address(server.address), where, report, what)
    path = ("servers", index, "media_address")
    own = ip_address(server.media_address)
    if draft.network.vip and own == ip_address(draft.network.vip):
        report.add(path, f"{own} is the VIP; {server.name} needs an address of its own")
    elif addresses and own not in addresses:
        text = f"{own} is not among network.media_addresses, so no other server could take it over"
        report.add(path, f"{text}; add it there")
    elif not addresses:
        _in_network(draft, own, path, report)


def _in_network(
    draft: Draft,
    address: Address,
    path: tuple[str | int, ...],
    report: Report,
    what: str = "it could not move from server to server",
) -> None:
    """Media servers are neighbours of the VIP: an address that moves is announced by ARP or ND."""
    if not draft.network.vip_prefix or ip_address(draft.network.vip).version != address.version:
        return
    network = ip_interface(f"{draft.network.vip}/{draft.network.vip_prefix}").network
    if address not in network:
        text = f"{address} is not in the cluster's network {network}"
        report.add(path, f"{text}, so {what}")


def _fixed(draft: Draft, report: Report) -> None:
    for index, server in draft.servers:
        if "media" in server.roles and not server.floats:
            text = f"{server.name} has no media_address of its own, so nobody can take over its"
            report.warn(("servers", index), f"{text} calls when it fails")


def _owner(draft: Draft, address: Address) -> str:
    owners = (server.name for _, server in draft.servers if ip_address(server.address) == address)
    return next(owners, "")
