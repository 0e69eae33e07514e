"""Nomad job files as the local engine runs them: `resolve` gives a `ResolvedJob`.

The supported part of HCL and of Nomad's job specification is what `reader` takes; anything else is
a `JobFileError` that names file and line.
"""

from pbxctl.engines.local.jobfile.errors import JobFileError
from pbxctl.engines.local.jobfile.model import (
    Logs,
    ResolvedJob,
    Resources,
    Restart,
    Task,
    Template,
)
from pbxctl.engines.local.jobfile.reader import resolve

__all__ = [
    "JobFileError",
    "Logs",
    "ResolvedJob",
    "Resources",
    "Restart",
    "Task",
    "Template",
    "resolve",
]
