"""Priorities: who renews leases must not wait behind calls, nor calls behind other work."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

REAL_TIME = 10
"""Of 1 to 99; above ordinary work, below the kernel's own threads."""
NICE = -15
FAVOURED = -10
"""As Consul's unit has it (`pbxctl.host_config.systemd`)."""


def hurry(otherwise: str = "under heavy load addresses may move without need") -> None:
    """Raise the calling thread's priority as far as it may; what it starts does not inherit it.

    ``otherwise``: what may happen if it may not, for the log.
    """
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(REAL_TIME))
    except OSError as refused:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        except OSError:
            log.warning(
                "no real-time priority (%s) and no lower niceness: %s;"
                " give this service CAP_SYS_NICE",
                refused.strerror,
                otherwise,
            )
        else:
            log.warning("no real-time priority (%s): niceness %d instead", refused.strerror, NICE)


def favour() -> None:
    """Have the calling thread, and what it starts, run before a host's ordinary work if it may."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, FAVOURED)
    except OSError as refused:
        log.info("no lower niceness: %s", refused.strerror)
