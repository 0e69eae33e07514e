"""The cluster spec: YAML with positions, its schema, cross-checks, and the typed `ClusterSpec`."""

from pbxctl.spec.load import Loaded, load, load_bytes
from pbxctl.spec.model import ClusterSpec, Secret, Server, Tenant, Trunk
from pbxctl.spec.problems import Problem, SpecError
from pbxctl.spec.schema import schema

__all__ = [
    "ClusterSpec",
    "Loaded",
    "Problem",
    "Secret",
    "Server",
    "SpecError",
    "Tenant",
    "Trunk",
    "load",
    "load_bytes",
    "schema",
]
