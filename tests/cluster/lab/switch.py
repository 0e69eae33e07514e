"""The LAN between the hosts: a bridge in a namespace of its own, with a port for each host.

Ports carry their hosts' names, so that rules read as what they mean. Cuts and losses are made here
and not on the hosts, so that they hold for every address a host will ever have, ARP included.
"""

from __future__ import annotations

from tests.cluster.lab.commands import command, ip


class Switch:
    """``cuts``: (from, to) pairs that lose all; ``losses``: the share lost of a host's frames."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.cuts: set[tuple[str, str]] = set()
        self.losses: dict[str, float] = {}
        ip(f"netns add {namespace}")
        ip(
            "link set lo up",
            # No spanning tree and no snooping: a port forwards as soon as it is up.
            "link add lan type bridge forward_delay 0 mcast_snooping 0",
            "link set lan up",
            namespace=namespace,
        )

    def attach(self, host: str, namespace: str) -> None:
        """A cable from a new port to ``eth0`` of a host's namespace."""
        ip(
            f"link add name {host} type veth peer name eth0 netns {namespace}",
            f"link set dev {host} master lan up",
            namespace=self.namespace,
        )

    def port(self, host: str, *, up: bool) -> None:
        """A port that is down takes the carrier from its host."""
        ip(f"link set dev {host} {'up' if up else 'down'}", namespace=self.namespace)

    def enforce(self) -> None:
        """Make the kernel's rules what ``cuts`` and ``losses`` say, in one step."""
        command("ip", "netns", "exec", self.namespace, "nft", "-f", "-", text=self.rules())

    def rules(self) -> str:
        """The whole table, in nftables' language."""
        lines = [f'iifname "{a}" oifname "{b}" drop' for a, b in sorted(self.cuts)]
        for host, share in sorted(self.losses.items()):
            chance = f"numgen random mod 10000 <= {share * 10000 - 1:.0f}"
            lines += [f'{side} "{host}" {chance} drop' for side in ("iifname", "oifname")]
        body = "\n    ".join(["type filter hook forward priority 0;", *lines])
        return (
            "table bridge lab {}\ndelete table bridge lab\n"
            f"table bridge lab {{\n  chain forward {{\n    {body}\n  }}\n}}\n"
        )
