"""Session timers of calls (RFC 4028), by a clock that jumps."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from services.core.sip import Call, Invitation, sdp
from tests.unit.sip.wire import Wire, agent

A, B = "192.0.2.1", "192.0.2.2"


def test_session_is_refreshed_or_ends() -> None:
    trio.run(_session, True, clock=MockClock(autojump_threshold=0))


def test_session_is_refreshed_by_reinvite_where_the_other_has_no_update() -> None:
    trio.run(_session, False, clock=MockClock(autojump_threshold=0))


async def _session(update: bool) -> None:
    """Whoever refreshes does so in time; one that does no more is given up."""
    answered: list[Call] = []

    async def serve(invitation: Invitation) -> None:
        assert invitation.offer is not None
        async with invitation.accept(sdp.answer(invitation.offer, B, 5000)[0]) as call:
            answered.append(call)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, iter(()))
        async with agent(wire, A, "a") as a, agent(wire, B, "b") as b:
            nursery.start_soon(b.serve, serve)
            async with a.dial(f"sip:b@{B}", sdp.offer(A, 4000), cancel_on_end=False) as call:
                if not update:
                    call.peer_allows -= {"update"}
                assert (call.refresh.state.interval, call.refresh.state.ours) == (1800, True)
                await trio.sleep(10_000)  # eleven halves of 1,800 s
                method = b"UPDATE " if update else b"INVITE "
                sent = sum(data.startswith(method) for data in wire.sent)
                assert sent == 11 if update else 12
                assert call.ended is None
                call.refresh.stop()
                await trio.sleep(1800)
                assert answered[0].ended is not None
                assert answered[0].ended.reason == "session expired"
                assert call.ended is not None
                assert call.ended.by == "them"
        nursery.cancel_scope.cancel()
