"""Nomad's agent configuration: it places and restarts; it is not what finds failures for calls.

https://developer.hashicorp.com/nomad/docs/configuration
"""

from __future__ import annotations

from pbxctl.host_config.agent import Agent
from pbxctl.host_config.hcl import Value


def configuration(agent: Agent, *, interface: str) -> dict[str, Value]:
    """The body of ``nomad.hcl``. Every host is a client; roles run as root by ``raw_exec``."""
    body: dict[str, Value] = {
        "name": agent.name,
        "datacenter": agent.datacenter,
        "data_dir": str(agent.data),
        "bind_addr": agent.address,
        "log_level": agent.log_level,
        "disable_update_check": True,
        "leave_on_interrupt": False,
        "leave_on_terminate": False,
        "addresses": {"http": "127.0.0.1"},
        "advertise": {"http": agent.address, "rpc": agent.address, "serf": agent.address},
        "client": {
            "enabled": True,
            "servers": agent.peers,
            "network_interface": interface,
            "options": {
                "fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean",
                "driver.allowlist": "raw_exec",
            },
        },
        "plugin raw_exec": {"config": {"enabled": True}},
        "consul": {"address": "127.0.0.1:8500"},
        "telemetry": {"prometheus_metrics": True, "disable_hostname": True},
    }
    server: dict[str, Value] = {"enabled": agent.server}
    if agent.server:
        server |= {
            "bootstrap_expect": len(agent.peers),
            "server_join": {"retry_join": agent.peers, "retry_interval": "1s"},
            "raft_multiplier": 1,
            "heartbeat_grace": "2s",
            "min_heartbeat_ttl": "2s",
            # Where the leader died with the client, its tasks would wait five minutes.
            "failover_heartbeat_ttl": "20s",
        }
    body["server"] = server
    if agent.tls is not None:
        body["tls"] = {
            "http": False,
            "rpc": True,
            "ca_file": str(agent.tls.ca),
            "cert_file": str(agent.tls.certificate),
            "key_file": str(agent.tls.key),
            "verify_server_hostname": True,
        }
    if agent.acl:
        body["acl"] = {"enabled": True}
    return body


def secrets(agent: Agent, *, gossip: str, consul_token: str) -> dict[str, Value]:
    """The body of ``secrets.hcl`` beside it."""
    body: dict[str, Value] = {"consul": {"token": consul_token}}
    if agent.server:
        body["server"] = {"encrypt": gossip}
    return body


def interface_of(address: str) -> str:
    """A template of Nomad's for the interface that has an address, whatever it is called."""
    # The library shows addresses with their prefix length.
    pattern = "^" + address.replace(".", "[.]") + "(/|$)"
    return f'{{{{ GetAllInterfaces | include "address" "{pattern}" | attr "name" }}}}'
