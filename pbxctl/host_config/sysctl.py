"""Kernel settings of a host."""

from __future__ import annotations

from collections.abc import Collection

EPHEMERAL = (10240, 65535)


def settings(roles: Collection[str], media: tuple[int, int]) -> str:
    """The content of a file in ``/etc/sysctl.d``; ``media`` are the first and the last RTP port."""
    lines = [
        "# Addresses move between hosts: programs listen on them before they are here,",
        "net.ipv4.ip_nonlocal_bind = 1",
        "net.ipv6.ip_nonlocal_bind = 1",
        "# one leaves without taking others of its network along,",
        "net.ipv4.conf.all.promote_secondaries = 1",
        "net.ipv4.conf.default.promote_secondaries = 1",
        "# and ARP speaks for the interface's own addresses only.",
        "net.ipv4.conf.all.arp_ignore = 1",
        "net.ipv4.conf.all.arp_announce = 2",
        "",
        "# Bursts wait in the socket's buffer while a worker is busy.",
        "net.core.rmem_max = 16777216",
        "net.core.wmem_max = 16777216",
        "net.core.rmem_default = 1048576",
        "net.core.wmem_default = 1048576",
        "net.core.netdev_max_backlog = 16384",
        "# All TLS and WSS phones connect again at once when the virtual address has moved.",
        "net.core.somaxconn = 8192",
        "net.ipv4.tcp_max_syn_backlog = 16384",
        "",
        "# Outgoing connections stay off the ports that services listen on later.",
        f"net.ipv4.ip_local_port_range = {EPHEMERAL[0]} {EPHEMERAL[1]}",
    ]
    if "media" in roles:
        lines.append(f"net.ipv4.ip_local_reserved_ports = {media[0]}-{media[1]}")
    lines += ["", "vm.swappiness = 1", "fs.file-max = 4194304"]
    if "live" in roles:
        lines += ["# Redis writes its snapshot from a fork.", "vm.overcommit_memory = 1"]
    return "\n".join(lines) + "\n"
