"""A service that is registered anew whenever it is not what the registry was told of it."""

from __future__ import annotations

from services.core.discovery.model import Service
from services.core.discovery.registry import Registry


class Registration:
    """What the registry was last told of one service."""

    def __init__(self) -> None:
        self._told: Service | None = None

    async def keep(self, registry: Registry, service: Service) -> None:
        """Register it, unless that is what the registry has. Raises RegistryError.

        A request that was not answered may have been carried out, or may be yet: then nobody knows
        what the registry has, and the next one is made whatever it says.
        """
        if service == self._told:
            return
        self._told = None
        await registry.register(service)
        self._told = service
