"""Whether a new call may start. Calls that are up, registrations and emergency calls always may."""

from __future__ import annotations

import zlib

import msgspec

from services.call_manager.routing.guard import Refusal, retry_after

FULL = Refusal(503, "Call Manager Is at Capacity")
TOO_FAST = Refusal(503, "Too Many Calls a Second")
BEHIND = Refusal(503, "Call Manager Is Overloaded")

SAMPLES_A_SECOND = 5
LONG = 1.0
"""Seconds of waiting. A request is sent again after 0.5 and 1.5 s (T1, RFC 3261 17.1.1.2): up to
here each comes twice at most, which passes; beyond, the queue grows by what it has made late."""
FULL_AT = 0.8
"""Part of the receive buffer in use; not much above it packets are lost."""
PACKET = 2304
"""Bytes of the buffer that the kernel counts for a SIP message of usual size."""
IDLE = 20
"""Messages that may wait, whatever the rate: less says nothing of it."""

WINDOW = 10
"""Samples over which the queue must stand: a burst, or a host that is busy for a moment, is what a
queue is for, and what is lost for want of room is sent again."""

STEP_LEAST, STEP_MOST = 4, 20
"""Per cent of new calls refused more with each standing sample, by how bad it is."""
RECOVERY = 5
"""Each good sample takes this part of what is shed back, and at least `STEP_LEAST`."""


class Load(msgspec.Struct, frozen=True, gc=False):
    """What is known when a call comes. ``limit`` 0 means none; ``shed`` is per cent to refuse."""

    calls: int
    limit: int
    shed: int = 0
    within_rate: bool = True


def _lot(call_id: str) -> int:
    return zlib.crc32(call_id.encode(errors="replace")) % 100


def admit(load: Load, call_id: str, *, emergency: bool) -> Refusal | None:
    """None to let the call start, else the refusal, with a Retry-After that spreads the returns.

    Shedding draws its lot from the Call-ID, so that a retransmission gets the same answer.
    """
    if emergency:
        return None
    if load.limit and load.calls >= load.limit:
        refusal = FULL
    elif not load.within_rate:
        refusal = TOO_FAST
    elif load.shed and load.shed > _lot(call_id):
        refusal = BEHIND
    else:
        return None
    return retry_after(refusal, 5 + zlib.crc32(call_id[::-1].encode(errors="replace")) % 11)


def limit(capacity: int, max_calls: int) -> int:
    """The smaller of this server's capacity and the cluster's limit; 0 is no limit."""
    return (
        min(capacity, max_calls) if capacity > 0 and max_calls > 0 else max(capacity, max_calls, 0)
    )


class Queue(msgspec.Struct, frozen=True, gc=False):
    """The receive queue at a sample: bytes ``used`` of ``size``, messages ``served`` since ever."""

    used: int
    size: int
    served: int


class Backlog(msgspec.Struct, frozen=True):
    """The last `WINDOW` samples and how bad each was, 0 to 1; and what is shed for it."""

    queues: tuple[Queue, ...] = ()
    pressures: tuple[float, ...] = ()
    shed: int = 0


def observe(backlog: Backlog, queue: Queue) -> Backlog:
    """The next state after a sample of the receive queue.

    Judged by the least of the last samples, as active queue management does (RFC 8289): a queue
    that empties is a burst absorbed, one that stands is delay for everybody.
    """
    queues = (*backlog.queues[1 - WINDOW :], queue)
    pressures = (*backlog.pressures[1 - WINDOW :], pressure(queues))
    least = min(pressures) if len(pressures) == WINDOW else 0.0
    if least > 0:
        shed = backlog.shed + STEP_LEAST + round((STEP_MOST - STEP_LEAST) * least)
    else:
        shed = backlog.shed - max(STEP_LEAST, backlog.shed // RECOVERY)
    return Backlog(queues, pressures, max(0, min(95, shed)))


def pressure(queues: tuple[Queue, ...]) -> float:
    """How far the queue is beyond what is good: 0 not at all, 1 hopelessly.

    What a message waits is estimated: those before it by how many were served lately. How full the
    buffer is says little by itself, as a small one is full of a tenth of a second's messages.
    """
    first, last = queues[0], queues[-1]
    waiting = last.used / PACKET
    if not last.size or waiting < IDLE:
        return 0.0
    served = (last.served - first.served) / max(1, len(queues) - 1) * SAMPLES_A_SECOND
    delay = waiting / served if served > 0 else float("inf")
    return max(_part(delay, LONG, 4 * LONG), _part(last.used / last.size, FULL_AT, 1.0))


def _part(value: float, begin: float, end: float) -> float:
    return max(0.0, min(1.0, (value - begin) / (end - begin)))
