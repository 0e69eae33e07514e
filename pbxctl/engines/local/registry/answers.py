"""Records as the JSON that Consul answers with. Source: Consul's HTTP API documentation."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from pbxctl.engines.local import durations
from pbxctl.engines.local.registry.records import Check, Key, Service, Session

DATACENTER = "dc1"
NODE = "local"
ADDRESS = "127.0.0.1"
NODE_ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, NODE))

Json = dict[str, Any]


def node() -> Json:
    """The only node there is."""
    return {
        "ID": NODE_ID,
        "Node": NODE,
        "Address": ADDRESS,
        "Datacenter": DATACENTER,
        "TaggedAddresses": {"lan": ADDRESS, "wan": ADDRESS},
        "Meta": {},
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }


def key(record: Key) -> Json:
    """An entry of ``/v1/kv``."""
    answer: Json = {
        "LockIndex": record.locks,
        "Key": record.id,
        "Flags": record.flags,
        "Value": base64.b64encode(record.value).decode() if record.value else None,
        "CreateIndex": record.created,
        "ModifyIndex": record.modified,
    }
    if record.session:
        answer["Session"] = record.session
    return answer


def session(record: Session) -> Json:
    """An entry of ``/v1/session/info`` and ``list``."""
    return {
        "ID": record.id,
        "Name": record.name,
        "Node": NODE,
        "LockDelay": round(record.lock_delay * 1e9),
        "Behavior": record.behavior,
        "TTL": durations.text(record.ttl) if record.ttl else "",
        "Checks": list(record.node_checks),
        "NodeChecks": list(record.node_checks),
        "ServiceChecks": [{"ID": one, "Namespace": ""} for one in record.service_checks] or None,
        "CreateIndex": record.created,
        "ModifyIndex": record.modified,
    }


def _weights(record: Service) -> Json:
    passing, warning = record.weights
    return {"Passing": passing, "Warning": warning}


def agent_service(record: Service) -> Json:
    """An entry of ``/v1/agent/services``."""
    return {
        "ID": record.id,
        "Service": record.name,
        "Tags": list(record.tags),
        "Meta": record.meta,
        "Port": record.port,
        "Address": record.address,
        "Weights": _weights(record),
        "EnableTagOverride": record.enable_tag_override,
        "Datacenter": DATACENTER,
    }


def health(record: Service, checks: list[Check]) -> Json:
    """An entry of ``/v1/health/service``."""
    return {
        "Node": node(),
        "Service": agent_service(record)
        | {"CreateIndex": record.created, "ModifyIndex": record.modified},
        "Checks": [check(one) for one in checks],
    }


def catalog(record: Service) -> Json:
    """An entry of ``/v1/catalog/service``."""
    place = node()
    return {
        "ID": place["ID"],
        "Node": place["Node"],
        "Address": place["Address"],
        "Datacenter": DATACENTER,
        "TaggedAddresses": place["TaggedAddresses"],
        "NodeMeta": place["Meta"],
        "ServiceID": record.id,
        "ServiceName": record.name,
        "ServiceTags": list(record.tags),
        "ServiceAddress": record.address,
        "ServicePort": record.port,
        "ServiceMeta": record.meta,
        "ServiceWeights": _weights(record),
        "ServiceEnableTagOverride": record.enable_tag_override,
        "CreateIndex": record.created,
        "ModifyIndex": record.modified,
    }


def check(record: Check) -> Json:
    """A check, as ``/v1/agent/checks`` and ``/v1/health`` show it."""
    return {
        "Node": NODE,
        "CheckID": record.id,
        "Name": record.name,
        "Status": record.status,
        "Notes": record.notes,
        "Output": record.output,
        "ServiceID": record.service,
        "ServiceName": record.service_name,
        "ServiceTags": list(record.service_tags),
        "Type": record.kind if record.service else "",
        "Interval": durations.text(record.interval) if record.interval else "",
        "Timeout": durations.text(record.timeout) if record.kind != "ttl" else "",
        "CreateIndex": record.created,
        "ModifyIndex": record.modified,
    }


def agent(version: str) -> Json:
    """``/v1/agent/self``."""
    return {
        "Config": {
            "Datacenter": DATACENTER,
            "NodeName": NODE,
            "NodeID": NODE_ID,
            "Server": True,
            "Version": version,
        },
        "Member": {"Name": NODE, "Addr": ADDRESS, "Status": 1, "Tags": {"dc": DATACENTER}},
        "Meta": {},
    }
