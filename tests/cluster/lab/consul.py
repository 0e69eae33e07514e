"""What a lab knows of its Consul and Nomad, asked through hosts that are up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx

from tests.cluster.lab.waiting import until

if TYPE_CHECKING:
    from tests.cluster.lab.host import Host
    from tests.cluster.lab.process import Process

PATIENCE = 2.0
"""Seconds for one question."""


class ConsulView:
    """The waiting helpers of `Lab`."""

    hosts: dict[str, Host]
    consul: dict[str, Process]
    nomad: dict[str, Process]
    consul_servers: dict[str, str]
    nomad_servers: dict[str, str]

    def start_nomad(self, name: str) -> Process:
        raise NotImplementedError

    def logs(self, lines: int = 30) -> str:
        raise NotImplementedError

    def servers_of(self, names: Sequence[str]) -> dict[str, str]:
        """Addresses by name of those that are servers."""
        count = 3 if len(names) >= 3 else 1
        return {name: self.hosts[name].address for name in names[:count]}

    async def consul_ready(self, *, within: float = 300.0) -> None:
        """Every agent whose host is on is alive to every other, and every server votes, healthy."""

        async def ready() -> bool:
            names = {name for name in self.consul if self.hosts[name].on}
            servers = set(self.consul_servers) & names
            for name in names:
                members = await self.ask(name, "/v1/agent/members") or []
                alive = {member["Name"] for member in members if member["Status"] == 1}
                if not names <= alive:
                    return False
            checks = await self.ask_any("/v1/health/state/passing") or []
            if not names <= {each["Node"] for each in checks if each["CheckID"] == "serfHealth"}:
                return False
            health = await self.ask_any("/v1/operator/autopilot/health") or {}
            voters = {
                each["Name"]
                for each in health.get("Servers") or ()
                if each["Healthy"] and each["Voter"] and each["SerfStatus"] == "alive"
            }
            return servers <= voters

        await until("Consul ready", ready, within=within, every=0.3, why=self.logs)

    async def raft_leader(self, *, within: float = 120.0) -> Host:
        """The host of Consul's Raft leader, waited for."""

        async def found() -> Host | None:
            answer = await self.ask_any("/v1/operator/raft/configuration")
            for server in (answer or {}).get("Servers") or ():
                if server["Leader"]:
                    return self.hosts[server["Node"]]
            return None

        leader = await until("a Raft leader", found, within=within, why=self.logs)
        assert leader is not None
        return leader

    async def transfer_leader(self, to: Host, *, within: float = 120.0) -> None:
        """Make ``to`` Consul's Raft leader."""

        async def moved() -> bool:
            answer = await self.ask_any("/v1/operator/raft/configuration")
            servers = {each["Node"]: each for each in (answer or {}).get("Servers") or ()}
            if to.name not in servers:
                return False
            if servers[to.name]["Leader"]:
                return True
            await self.ask_any(
                f"/v1/operator/raft/transfer-leader?id={servers[to.name]['ID']}", method="POST"
            )
            return False

        await until(f"{to.name} Raft leader", moved, within=within, every=0.2, why=self.logs)

    async def nomad_ready(self, *, within: float = 300.0) -> None:
        """Every client whose host is on is ready, with raw_exec, and the servers have a leader."""
        names = {name for name in self.nomad if self.hosts[name].on}
        hurried: set[str] = set()

        async def ready() -> bool:
            nodes = await self._nodes()
            if nodes is None:
                return False
            # A client that registered in the moment between the first election and the first key
            # was refused, and tries again after 15 to 30 s only. It has no task yet.
            for name in names - hurried - {node["Name"] for node in nodes}:
                hurried.add(name)
                self.nomad[name].kill()
                self.start_nomad(name)
            able = {
                node["Name"]
                for node in nodes
                if node["Status"] == "ready"
                and node["SchedulingEligibility"] == "eligible"
                and node["Drivers"].get("raw_exec", {}).get("Healthy")
            }
            return names <= able

        await until("Nomad ready", ready, within=within, every=0.5, why=self.logs)

    async def _nodes(self) -> list[dict[str, Any]] | None:
        """Nomad's clients, once its servers have a key to sign with."""
        for name in self.nomad_servers:
            if self.hosts[name].on and await self.ask(name, "/.well-known/jwks.json", port=4646):
                return await self.ask(name, "/v1/nodes", port=4646)
        return None

    async def ask(
        self, name: str, path: str, *, method: str = "GET", port: int = 8500, body: Any = None
    ) -> Any:
        """The decoded answer of a host's own agent; None if it gives none or refuses."""
        async with self.hosts[name].http(f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            try:
                answer = await client.request(method, path, json=body)
                return answer.json() if answer.is_success and answer.content else None
            except (httpx.HTTPError, ValueError):
                return None

    async def ask_any(self, path: str, *, method: str = "GET") -> Any:
        """`ask` of the first host that answers."""
        for name in self.consul:
            if self.hosts[name].on:
                answer = await self.ask(name, path, method=method)
                if answer is not None:
                    return answer
        return None
