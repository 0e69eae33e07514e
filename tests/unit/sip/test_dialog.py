"""Calls on a bad network, by chance and with a clock that jumps: both sides come to one end."""

from __future__ import annotations

from typing import Literal

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from services.core.sip import Call, CallEndedError, CallRefusedError, Invitation, SipError, sdp
from tests.unit.sip.network import Fate
from tests.unit.sip.wire import Wire, agent

A, B = "192.0.2.1", "192.0.2.2"
Step = Literal["reinvite", "update", "ask", "info", "hold", "hang_up"]
FATES = st.lists(st.lists(st.floats(0.001, 2.0), max_size=2).map(tuple), max_size=40)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("caller", "callee")),
        st.sampled_from(("reinvite", "update", "ask", "info", "hold", "hang_up")),
        st.floats(0.0, 3.0),
    ),
    max_size=8,
)


async def do(call: Call, step: Step, address: str, port: int) -> None:
    try:
        match step:
            case "reinvite":
                await call.reinvite(sdp.offer(address, port))
            case "update":
                await call.update(sdp.offer(address, port))
            case "ask":
                call.answer(sdp.answer(await call.request_offer(), address, port)[0])
            case "info":
                await call.info("text/plain", b"1")
            case "hold":
                await call.hold()
            case "hang_up":
                call.hang_up()
    except SipError:
        pass


def origin(text: str) -> int:
    """The version of a description."""
    return int(next(line for line in text.splitlines() if line.startswith("o=")).split(" ")[2])


@settings(max_examples=60)
@given(FATES, STEPS)
def test_any_call(fates: list[Fate], steps: list[tuple[str, Step, float]]) -> None:
    trio.run(_any_call, fates, steps, clock=MockClock(autojump_threshold=0))


async def _any_call(fates: list[Fate], steps: list[tuple[str, Step, float]]) -> None:
    calls: dict[str, Call] = {}

    def answers(address: str) -> object:
        return lambda offer: sdp.answer(offer, address, 5000)[0]

    async def serve(invitation: Invitation) -> None:
        assert invitation.offer is not None
        text = sdp.answer(invitation.offer, B, 5000)[0]
        async with invitation.accept(text) as call:
            calls["callee"] = call
            call.answers = answers(B)  # type: ignore[assignment]
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, iter(fates))
        async with agent(wire, A, "a") as a, agent(wire, B, "b") as b:
            nursery.start_soon(b.serve, serve)
            try:
                async with a.dial(f"sip:b@{B}", sdp.offer(A, 4000), cancel_on_end=False) as call:
                    calls["caller"] = call
                    call.answers = answers(A)  # type: ignore[assignment]
                    for n, (who, step, wait) in enumerate(steps):
                        nursery.start_soon(
                            do, calls[who], step, A if who == "caller" else B, 6000 + n
                        )
                        await trio.sleep(wait)
                    await trio.sleep(100)
                    _agree(calls)
            except SipError:
                pass
            await trio.sleep(200)
            for one in calls.values():
                assert one.ended is not None
            assert not a.calls
            assert not b.calls
            assert not len(a.endpoint)
            assert not len(b.endpoint)
        nursery.cancel_scope.cancel()


def _agree(calls: dict[str, Call]) -> None:
    """Both think the same of the session, or both that the call is over."""
    caller, callee = calls["caller"], calls["callee"]
    if caller.ended is None and callee.ended is None:
        assert caller.negotiation.pending == ""
        assert callee.negotiation.pending == ""
        assert caller.local_sdp == callee.remote_sdp
        assert caller.remote_sdp == callee.local_sdp
        assert caller.dialog.target == f"sip:b@{B}:5060"
        assert callee.dialog.target == f"sip:a@{A}:5060"


@settings(max_examples=60)
@given(FATES, st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_cancelled_at_any_time(fates: list[Fate], patience: float, rings: float) -> None:
    """A call that is given up while it is set up leaves nothing, however messages cross."""
    trio.run(_cancelled, fates, patience, rings, clock=MockClock(autojump_threshold=0))


async def _cancelled(fates: list[Fate], patience: float, rings: float) -> None:
    async def serve(invitation: Invitation) -> None:
        invitation.ring()
        await trio.sleep(rings)
        assert invitation.offer is not None
        async with invitation.accept(sdp.answer(invitation.offer, B, 5000)[0]):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        wire = Wire(nursery, iter(fates))
        async with agent(wire, A, "a") as a, agent(wire, B, "b") as b:
            nursery.start_soon(b.serve, serve)
            with trio.move_on_after(patience):
                try:
                    async with a.dial(f"sip:b@{B}", sdp.offer(A, 4000)):
                        await trio.sleep_forever()
                except (CallRefusedError, CallEndedError, SipError):
                    pass
            await trio.sleep(200)
            assert not a.calls
            assert not b.calls
            assert not len(a.endpoint)
            assert not len(b.endpoint)
        nursery.cancel_scope.cancel()
