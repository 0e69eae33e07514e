"""The admin HTTP side of a role: ``/health``, ``/metrics``, ``/drain``, and what the role adds."""

from services.core.admin.application import Problem, authorized_router, bytes_of, create_app
from services.core.admin.gauges import Gauges
from services.core.admin.guard import Application
from services.core.admin.health import Health, Status
from services.core.admin.server import serve

__all__ = [
    "Application",
    "Gauges",
    "Health",
    "Problem",
    "Status",
    "authorized_router",
    "bytes_of",
    "create_app",
    "serve",
]
