"""Prompts recorded by phone: which sound is heard in place of the spec's, in the registry."""

from __future__ import annotations

import logging
from collections.abc import Collection

import msgspec

from services.core.configuration import RecordedPrompt, decode, encode, prefix
from services.core.discovery import Registry

log = logging.getLogger(__name__)

Prompts = dict[tuple[str, str], RecordedPrompt]
"""By tenant and name."""


class RecordedPrompts:
    """Of a cluster. All raise RegistryError."""

    def __init__(self, registry: Registry, cluster: str) -> None:
        self._registry = registry
        self._root = f"{prefix(cluster)}prompts/"

    async def of(self, tenant: str = "") -> Prompts:
        """Those of a tenant, or all."""
        root = f"{self._root}{tenant}/" if tenant else self._root
        found: Prompts = {}
        for key, entry in (await self._registry.list(root)).items():
            owner, _, name = key.removeprefix(self._root).partition("/")
            try:
                found[owner, name] = decode(entry.value, RecordedPrompt)
            except msgspec.DecodeError as error:
                log.warning("%s cannot be read: %s", key, error)
        return found

    async def put(self, tenant: str, name: str, prompt: RecordedPrompt) -> None:
        """From now on callers hear it; the sound is in the store already."""
        await self._registry.put(f"{self._root}{tenant}/{name}", encode(prompt))

    async def reset(self, tenant: str, name: str) -> None:
        """From now on callers hear what the spec has."""
        await self._registry.delete(f"{self._root}{tenant}/{name}")

    async def forget_others(self, tenants: Collection[str]) -> set[str]:
        """Forget those of tenants that are no more: the next one of that name is another customer.

        The digests of what is left.
        """
        left: set[str] = set()
        for (tenant, name), prompt in (await self.of()).items():
            if tenant in tenants:
                left.add(prompt.digest)
            else:
                await self.reset(tenant, name)
        return left
