"""Addresses: each server its own, and a VIP that can be reached.

What moves between servers beside the VIP is `floating`'s.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.model import Server

VIP = ("network", "vip")


def check(draft: Draft, report: Report) -> None:
    """No address is two servers'; the VIP is in the servers' network, or the only manager's."""
    _servers(draft, report)
    _vip(draft, report)


def _servers(draft: Draft, report: Report) -> None:
    owners: dict[str, Server] = {}
    media: dict[str, Server] = {}
    for index, server in draft.servers:
        address = _canonical(server.address)
        if other := owners.get(address):
            text = f"{other.name} and {server.name} have the same address {server.address}"
            report.add(("servers", index, "address"), f"{text}; each needs its own")
        owners.setdefault(address, server)
    for index, server in draft.servers:
        if "media" not in server.roles:
            continue
        own = _canonical(server.media_address)
        path = ("servers", index, "media_address")
        same = server.media_address == server.address
        if other := media.get(own):
            text = f"{other.name} and {server.name} have the same media_address"
            if not (same and other.media_address == other.address):
                report.add(path, f"{text} {server.media_address}; each needs its own")
        elif (other := owners.get(own)) and other.name != server.name and not same:
            report.add(path, f"{server.media_address} is the address of {other.name}")
        media.setdefault(own, server)


def _vip(draft: Draft, report: Report) -> None:
    vip = draft.network.vip
    if not vip:
        network = report.root.child("network")
        if draft.engine != "local" and (network is None or network.child("vip") is None):
            report.add(("network",), 'needs "vip", the address that phones come to')
        return
    managers = [server for _, server in draft.servers if "call-manager" in server.roles]
    mine = [server for server in managers if _canonical(server.address) == vip]
    if draft.engine == "local" and managers and not mine:
        text = f"{vip}: on one machine it is the call manager's address {managers[0].address}"
        report.add(VIP, f"{text}; leave it out")
    taken = [server for _, server in draft.servers if _canonical(server.address) == vip]
    for server in taken if draft.engine != "local" else ():
        report.add(VIP, f"{vip} is the address of {server.name}; the VIP must be free to move")
    if not draft.network.vip_prefix:
        if draft.engine != "local":
            text = f"needs its prefix length, such as {vip}/{_usual(vip)}: it is added to"
            report.add(VIP, f"{text} a call manager's interface with it")
        return
    network = ip_interface(f"{vip}/{draft.network.vip_prefix}").network
    for server in managers:
        if ip_address(server.address) not in network:
            text = f"{server.name} ({server.address}) is not in the VIP's network {network}"
            report.add(VIP, f"{text}, so it could not hold {vip}")


def _usual(vip: str) -> int:
    return 24 if ip_address(vip).version == 4 else 64


def _canonical(address: str) -> str:
    return str(ip_address(address))
