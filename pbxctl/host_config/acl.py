"""Who may do what: policies and tokens of Consul and Nomad, and the script that brings them in.

All tokens are made beforehand, so that hosts are configured whole before any of them runs; Consul
and Nomad take a given secret for each. The script may run again: it creates what is missing and
brings the rest up to date.
https://developer.hashicorp.com/consul/docs/security/acl, https://developer.hashicorp.com/nomad/docs/secure/acl
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Mapping

AGENT = """\
# Every host's Consul agent: its own registration, and reading what others have.
node_prefix "" { policy = "write" }
agent_prefix "" { policy = "write" }
service_prefix "" { policy = "read" }
session_prefix "" { policy = "read" }
"""

NOMAD = """\
# Every host's Nomad agent.
agent_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service_prefix "" { policy = "write" }
"""


def services(cluster: str) -> str:
    """What the PBX's own services may: their part of the keys, and their locks."""
    return f"""\
# The PBX's services: their own keys, those of Patroni, locks, and moving Raft's leadership.
key_prefix "pbx/{cluster}/" {{ policy = "write" }}
key_prefix "service/{cluster}/" {{ policy = "write" }}
service_prefix "" {{ policy = "write" }}
node_prefix "" {{ policy = "read" }}
agent_prefix "" {{ policy = "read" }}
session_prefix "" {{ policy = "write" }}
operator = "write"
"""


def accessor(cluster: str, token: str) -> str:
    """The public id of one of our tokens, the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{token}.{cluster}.pbx"))


def bootstrap(cluster: str, tokens: Mapping[str, str], management: Mapping[str, str]) -> str:
    """The script for the first server, as root.

    ``tokens`` are the secrets of ``agent``, ``nomad`` and ``services``; ``management`` those of
    ``consul`` and ``nomad``.
    """
    policies = {"agent": AGENT, "nomad": NOMAD, "services": services(cluster)}
    parts = [HEAD.format(cluster=cluster, **{k: shlex.quote(v) for k, v in management.items()})]
    for name, rules in policies.items():
        parts.append(
            f"bring pbx-{name} {accessor(cluster, name)} {shlex.quote(tokens[name])} <<'RULES'\n"
            f"{rules}RULES\n"
        )
    parts.append(TAIL)
    return "\n".join(parts)


HEAD = """\
#!/bin/bash
# Brings the policies and tokens of {cluster} into Consul and Nomad. On one call manager, as root,
# once all three run; it may run again. It holds secrets: keep it as you keep keys.
set -euo pipefail
fail() {{ printf 'bootstrap: %s\\n' "$*" >&2; exit 1; }}
export CONSUL_HTTP_ADDR=${{CONSUL_HTTP_ADDR:-http://127.0.0.1:8500}}
export NOMAD_ADDR=${{NOMAD_ADDR:-http://127.0.0.1:4646}}
export CONSUL_HTTP_TOKEN={consul}
nomad_token={nomad}

within() {{ # SECONDS WHAT COMMAND…: repeat until it succeeds
  local end=$((SECONDS + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what: $("$@" 2>&1 | tail -n 3)"
    sleep 1
  done
}}

bring() {{ # NAME ACCESSOR SECRET < RULES
  local rules; rules=$(cat)
  if consul acl policy read -name "$1" >/dev/null 2>&1; then
    consul acl policy update -name "$1" -rules "$rules" >/dev/null
  else
    consul acl policy create -name "$1" -rules "$rules" >/dev/null
  fi
  if ! consul acl token read -accessor-id "$2" >/dev/null 2>&1; then
    consul acl token create -accessor "$2" -secret "$3" -policy-name "$1" -description "$1" \\
      >/dev/null
  fi
  echo "Consul: $1"
}}

within 120 "Consul has no leader, or does not know this cluster's management token" \\
  consul acl policy list
"""

TAIL = """\
leader() { nomad operator api /v1/status/leader </dev/null | grep -q :; }
within 120 "Nomad has no leader" leader
if NOMAD_TOKEN=$nomad_token nomad acl token self >/dev/null 2>&1; then
  echo "Nomad: was done"
else
  token=$(mktemp); trap 'rm -f "$token"' EXIT
  printf '%s' "$nomad_token" >"$token"
  nomad acl bootstrap "$token" >/dev/null || fail "Nomad was bootstrapped with another token: its \\
documentation says how to begin anew (acl bootstrap, reset)"
  echo "Nomad: done"
fi
"""
