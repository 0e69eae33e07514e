"""A role's own figures for ``/metrics``."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge


class Gauges:
    """Prometheus gauges that are made as they come; `update` sets them all."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def update(self, values: Mapping[str, tuple[float, str]]) -> None:
        """``values``: name → value and help."""
        for name, (value, explanation) in values.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(name, explanation, registry=self.registry)
            self._gauges[name].set(value)
