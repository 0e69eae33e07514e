"""Everything on one machine: job files run as child processes, beside an embedded registry.

`engine` is what `pbxctl` calls; `daemon` is the process that it starts, with `supervisor` and
`registry`; `pbxctl.engines.executor` stands between that process and each task.
"""

from pbxctl.engines.local.engine import LocalEngine
from pbxctl.engines.local.jobfile import JobFileError

__all__ = ["JobFileError", "LocalEngine"]
