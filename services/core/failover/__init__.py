"""Failure detection, fencing and floating addresses: one machine for every role.

How it works, and why never two hold the same: `docs/decisions/0006-leases-without-clocks.md`.

    member = member_of(settings, "media", port=settings.probe_port, managers=settings.managers)
    responder = Responder(member, well=lambda: rtpengine_answered_lately)
    floating = Floating(responder, registry, "media/ms1", addresses=("10.20.0.31/24",), ...)
    nursery.start_soon(responder.run)
    nursery.start_soon(floating.run)

and in a manager's agent also

    detector = Detector(responder, registry)
    nursery.start_soon(detector.run)
    detector.down       # frozenset of (role, server) that two managers cannot reach

All of it may run in the role's own event loop; one that is busy for more than some 100 ms at times
runs it by `Apart` in another thread, with real-time priority, as the Call Manager does.

A service that wants to be probed publishes ``responder.probe`` as ``probe`` in its meta. With no
``managers`` in the settings there is one machine: `Responder.run` and `Detector.run` do nothing,
and a `Floating` is held from the start with no address touched.
"""

from services.core.failover.apart import Apart
from services.core.failover.detector import Detector
from services.core.failover.fence import Fence
from services.core.failover.floating import Floating, HandOverError
from services.core.failover.member import Member, member_of
from services.core.failover.opinions import Opinions
from services.core.failover.raft import follow_raft
from services.core.failover.responder import Responder

__all__ = [
    "Apart",
    "Detector",
    "Fence",
    "Floating",
    "HandOverError",
    "Member",
    "Opinions",
    "Responder",
    "follow_raft",
    "member_of",
]
