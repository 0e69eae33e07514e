"""Consul's agent configuration, for failures that are noticed within a second.

Consul finds dead hosts by gossip and elects its leader by Raft; both come tuned for large and
distant clusters. The values here are for some dozens of hosts in one LAN.
https://developer.hashicorp.com/consul/docs/agent/config/config-files
"""

from __future__ import annotations

from pbxctl.host_config.agent import Agent
from pbxctl.host_config.hcl import Value


def configuration(agent: Agent) -> dict[str, Value]:
    """The body of ``consul.hcl``. The HTTP API is plain and on loopback only."""
    body: dict[str, Value] = {
        "node_name": agent.name,
        "datacenter": agent.datacenter,
        "data_dir": str(agent.data),
        "bind_addr": agent.address,
        "client_addr": "127.0.0.1",
        "log_level": agent.log_level,
        "server": agent.server,
        "retry_join": agent.peers,
        "retry_interval": "1s",
        # A restart is no departure: who leaves takes his vote with him.
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "rejoin_after_leave": True,
        "disable_update_check": True,
        # What checks found is read by people; left at Consul's 5 minutes it is history.
        "check_update_interval": "5s",
        "ui_config": {"enabled": True},
        "connect": {"enabled": False},
        "ports": {"dns": -1, "grpc": -1, "grpc_tls": -1},
        "gossip_lan": {
            "probe_interval": "200ms",
            "probe_timeout": "100ms",
            "suspicion_mult": 2,
            "gossip_interval": "50ms",
        },
        "performance": {"raft_multiplier": 1, "leave_drain_time": "100ms"},
        # Each role keeps several blocking queries open, all from loopback.
        "limits": {"http_max_conns_per_client": 2000},
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
    }
    if agent.server:
        body["bootstrap_expect"] = len(agent.peers)
        # A dead server that is removed comes back without a vote, and a second failure within
        # seconds leaves no quorum.
        body["autopilot"] = {
            "cleanup_dead_servers": False,
            "min_quorum": len(agent.peers),
            "server_stabilization_time": "1s",
        }
    if agent.tls is not None:
        body["tls"] = {
            "defaults": {
                "ca_file": str(agent.tls.ca),
                "cert_file": str(agent.tls.certificate),
                "key_file": str(agent.tls.key),
                "verify_incoming": True,
                "verify_outgoing": True,
            },
            "internal_rpc": {"verify_server_hostname": True},
        }
    if agent.acl:
        body["acl"] = {
            "enabled": True,
            "default_policy": "deny",
            # With its servers away an agent goes on with what it knows.
            "down_policy": "extend-cache",
            "enable_token_persistence": True,
        }
    return body


def secrets(
    agent: Agent, *, gossip: str, agent_token: str, management_token: str
) -> dict[str, Value]:
    """The body of ``secrets.hcl`` beside it. The management token is given to servers only."""
    # No default token: whoever gives none may do nothing.
    tokens: dict[str, Value] = {"agent": agent_token}
    if agent.server:
        tokens["initial_management"] = management_token
    return {"encrypt": gossip, "acl": {"tokens": tokens}}
