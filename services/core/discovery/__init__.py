"""The registry's client: who is there and well, configuration as it changes, locks.

async with Registry(settings.registry) as registry:
    await registry.register(Service(id=..., name="media", checks=(Check(ttl=10),)))
    await registry.report(service_id, "passing", "RTP echo 0.3 ms")
    async for values in registry.watch("pbx/acme/config/"):
        ...
"""

from services.core.discovery.errors import (
    RegistryError,
    RegistryRefusedError,
    RegistryUnreachableError,
)
from services.core.discovery.model import (
    TROUBLE,
    Check,
    CheckResult,
    Entry,
    Instance,
    Operation,
    RaftServer,
    Service,
    Session,
    SessionInfo,
    Status,
)
from services.core.discovery.registration import Registration
from services.core.discovery.registry import Registry

__all__ = [
    "TROUBLE",
    "Check",
    "CheckResult",
    "Entry",
    "Instance",
    "Operation",
    "RaftServer",
    "Registration",
    "Registry",
    "RegistryError",
    "RegistryRefusedError",
    "RegistryUnreachableError",
    "Service",
    "Session",
    "SessionInfo",
    "Status",
]
