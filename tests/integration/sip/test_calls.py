"""Two user agents over the loopback: what each side of a call can do, and what the other sees."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from services.core.sip import (
    Answered,
    Call,
    CallEndedError,
    CallRefusedError,
    Ended,
    InfoReceived,
    Invitation,
    MessageReceived,
    Offered,
    Progress,
    Referred,
    RequestFailedError,
    UserAgent,
    bridge,
    sdp,
)
from services.core.sip.adoption import adopt_call
from tests.support.hosts import loopback_network
from tests.support.waiting import until

OFFER = sdp.offer("192.0.2.1", 4000)
WITHIN = 30.0


def answer_to(offer: str | None, port: int = 5000) -> str:
    assert offer is not None
    return sdp.answer(offer, "192.0.2.2", port)[0]


async def accept(invitation: Invitation) -> None:
    async with invitation.accept(answer_to(invitation.offer)) as call:
        await call.wait_ended()


@asynccontextmanager
async def two(
    serve: Callable[[Invitation], Awaitable[None]] = accept,
) -> AsyncGenerator[tuple[UserAgent, UserAgent]]:
    """A caller, and a callee that does ``serve``."""
    with loopback_network() as network, trio.fail_after(60):
        async with (
            UserAgent(f"{network}.1", 5060, name="a") as a,
            UserAgent(f"{network}.2", 5060, name="b") as b,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(b.serve, serve)
            yield a, b
            nursery.cancel_scope.cancel()


def at(agent: UserAgent, transport: str = "udp") -> str:
    return f"sip:{agent.name}@{agent.address}:{agent.port};transport={transport}"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_call_and_hang_up(transport: str) -> None:
    ended: list[Ended] = []

    async def serve(invitation: Invitation) -> None:
        invitation.ring()
        async with invitation.accept(answer_to(invitation.offer)) as call:
            await trio.sleep_forever()
        assert call.ended is not None
        ended.append(call.ended)

    heard: list[Progress] = []
    async with two(serve) as (a, b):
        async with a.dial(at(b, transport), OFFER, on_progress=heard.append) as call:
            agreed = sdp.agreed(call.local_sdp, call.remote_sdp)
            assert agreed is not None
            assert (agreed.address, agreed.port, agreed.codec) == ("192.0.2.2", 5000, sdp.PCMA)
            call.hang_up("Q.850;cause=16")
        assert [progress.status for progress in heard] == [180]
        await until(lambda: ended)
        assert (ended[0].by, ended[0].reason) == ("them", "Q.850;cause=16")
        assert not a.calls
        assert not b.calls


async def test_the_block_ends_with_the_call() -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)):
            await trio.sleep(0.05)

    async with two(serve) as (a, b):
        async with a.dial(at(b), OFFER) as call:
            await trio.sleep_forever()
        assert call.ended is not None
        assert call.ended.by == "them"


async def test_refused() -> None:
    async def serve(invitation: Invitation) -> None:
        invitation.reject(486, "Busy", [("X-Reason", "lunch")])

    async with two(serve) as (a, b):
        with pytest.raises(CallRefusedError) as refused:
            async with a.dial(at(b), OFFER):
                pytest.fail("there is no call")
        assert refused.value.status == 486
        assert refused.value.response.headers.get("x-reason") == "lunch"


async def test_cancelled_while_it_rings() -> None:
    given_up: list[str] = []

    async def serve(invitation: Invitation) -> None:
        invitation.ring()
        try:
            await trio.sleep_forever()
        finally:
            given_up.append(invitation.state)

    async with two(serve) as (a, b):
        with trio.move_on_after(0.1):
            async with a.dial(at(b), OFFER):
                pytest.fail("nobody answered")
        await until(lambda: given_up == ["given up"])
        await until(lambda: not a.calls and not b.calls)


async def test_answer_crosses_cancel() -> None:
    """A call that is answered as it is cancelled gets a BYE."""
    ended: list[Ended] = []

    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            await trio.sleep_forever()
        assert call.ended is not None
        ended.append(call.ended)

    async with two(serve) as (a, b):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with a.dial(at(b), OFFER):
                pytest.fail("it was cancelled")
        await until(lambda: ended)
        assert ended[0].by == "them"
        assert not b.calls


async def test_offerless_both_ways() -> None:
    """The caller asks for our offer; its answer comes in the ACK (RFC 3264, RFC 3261 13.2.1)."""
    answers: list[str] = []

    async def serve(invitation: Invitation) -> None:
        assert invitation.offer is None
        async with invitation.accept(sdp.offer("192.0.2.2", 5002)) as call:
            event = await anext(call.events())
            assert isinstance(event, Answered)
            answers.append(event.sdp)
            await call.wait_ended()

    async with two(serve) as (a, b), a.dial(at(b), None) as call:
        assert call.offer is not None
        call.answer(sdp.answer(call.offer, "192.0.2.1", 4002)[0])
        await until(lambda: answers)
        assert "m=audio 4002" in answers[0]
        assert "m=audio 5002" in call.remote_sdp


async def test_offerless_left_without_answer() -> None:
    """The ACK is sent all the same, refusing the media, and then the BYE."""
    answers: list[str] = []
    ended: list[Ended] = []

    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(sdp.offer("192.0.2.2", 5002), cancel_on_end=False) as call:
            async for event in call.events():
                if isinstance(event, Answered):
                    answers.append(event.sdp)
                elif isinstance(event, Ended):
                    ended.append(event)

    async with two(serve) as (a, b):
        async with a.dial(at(b), None):
            pass
        await until(lambda: ended)
        assert "m=audio 0 " in answers[0]


async def test_reinvite_is_answered_hold_and_resume() -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            call.answers = answer_to
            await trio.sleep_forever()

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        held = sdp.audio(await call.hold())
        assert held is not None
        assert held.direction == "recvonly"
        resumed = sdp.audio(await call.resume())
        assert resumed is not None
        assert resumed.direction == "sendrecv"
        lines = call.local_sdp.splitlines()
        assert lines[1].split()[2] == "3"  # the version has grown with each change
        await call.reinvite(call.local_sdp)
        assert call.local_sdp.splitlines() == lines


async def test_offered_and_refused() -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            async for event in call.events():
                if isinstance(event, Offered):
                    event.reject(488)

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        before = call.local_sdp, call.remote_sdp
        with pytest.raises(CallRefusedError):
            await call.reinvite(sdp.offer("192.0.2.1", 4444))
        with pytest.raises(CallRefusedError):
            await call.update(sdp.offer("192.0.2.1", 4444))
        assert (call.local_sdp, call.remote_sdp) == before


async def test_glare() -> None:
    """Both offer at once: 491, and both come through in the end."""
    done: list[str] = []

    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            call.answers = answer_to
            await call.reinvite(sdp.offer("192.0.2.2", 5100))
            done.append("b")
            await trio.sleep_forever()

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        call.answers = lambda offer: sdp.answer(offer, "192.0.2.1", 4000)[0]
        await call.reinvite(sdp.offer("192.0.2.1", 4100))
        await until(lambda: done)


async def test_request_offer_and_update() -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            async for event in call.events():
                if isinstance(event, Offered):
                    event.accept(
                        sdp.offer("192.0.2.2", 5200) if event.sdp is None else answer_to(event.sdp)
                    )

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        offered = await call.request_offer()
        assert "m=audio 5200" in offered
        call.answer(sdp.answer(offered, "192.0.2.1", 4300)[0])
        assert "m=audio 5000" in await call.update(sdp.offer("192.0.2.1", 4301))


async def test_info_message_and_early_media() -> None:
    seen: list[InfoReceived | MessageReceived] = []

    async def serve(invitation: Invitation) -> None:
        await invitation.progress(answer_to(invitation.offer))
        async with invitation.accept("") as call:
            for _ in range(2):
                event = await anext(call.events())
                assert isinstance(event, InfoReceived | MessageReceived)
                seen.append(event)
            await call.wait_ended()

    heard: list[Progress] = []
    async with two(serve) as (a, b), a.dial(at(b), OFFER, on_progress=heard.append) as call:
        assert [p.status for p in heard] == [183]
        assert heard[0].headers.get("rseq")
        assert "m=audio 5000" in call.remote_sdp
        await call.info("application/dtmf-relay", b"Signal=5\r\n")
        await call.message("hello")
        assert [(type(e).__name__, e.body) for e in seen] == [
            ("InfoReceived", b"Signal=5\r\n"),
            ("MessageReceived", b"hello"),
        ]


@pytest.mark.parametrize("outcome", [200, 486])
async def test_transfer(outcome: int) -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            async for event in call.events():
                if isinstance(event, Referred):
                    assert event.target == "sip:2002@192.0.2.9"
                    assert event.referred_by == "<sip:boss@192.0.2.9>"
                    event.accept()
                    event.report(180)
                    event.report(outcome)

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        status = await call.refer("sip:2002@192.0.2.9", referred_by="<sip:boss@192.0.2.9>")
        assert status == outcome


async def test_transfer_refused() -> None:
    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            async for event in call.events():
                if isinstance(event, Referred):
                    event.reject(603)

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        with pytest.raises(CallRefusedError):
            await call.refer("sip:2002@192.0.2.9")
        assert call.ended is None


async def test_replaces() -> None:
    """A call that takes another's place: that one is hung up (RFC 3891)."""
    async with two() as (a, b), a.dial(at(b), OFFER, cancel_on_end=False) as old:
        async with a.dial(at(b), OFFER, replaces=old) as new:
            ended = await old.wait_ended()
            assert ended.by == "them"
            assert "Replaced" in ended.reason
            assert new.ended is None
        with pytest.raises(CallRefusedError) as refused:
            async with a.dial(at(b), OFFER, replaces=old):
                pytest.fail("there is nothing to replace")
        assert refused.value.status == 481


async def test_refer_carries_replaces() -> None:
    seen: list[Referred] = []

    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            async for event in call.events():
                if isinstance(event, Referred):
                    seen.append(event)
                    event.accept()
                    event.report(200)

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as one, a.dial(at(b), OFFER) as other:
        assert await one.refer(at(b), replaces=other) == 200
        dialog = other.dialog
        assert seen[0].replaces == (
            f"{dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"
        )


async def test_bridge() -> None:
    """Two calls become one; an offer of one reaches the other; one ends with the other."""
    ports = iter((5001, 5002))
    calls: list[Call] = []

    async def serve(invitation: Invitation) -> None:
        port = next(ports)
        async with invitation.accept(answer_to(invitation.offer, port)) as call:
            calls.append(call)
            async for event in call.events():
                if isinstance(event, Offered):
                    event.accept(
                        sdp.offer("192.0.2.2", port)
                        if event.sdp is None
                        else answer_to(event.sdp, port)
                    )
                elif isinstance(event, InfoReceived):
                    await call.info("text/plain", b"echo " + event.body)

    async with two(serve) as (a, b):
        results: list[Ended] = []

        async def join(first: Call, second: Call) -> None:
            results.append(await bridge(first, second))

        async with (
            a.dial(at(b), OFFER, cancel_on_end=False) as first,
            a.dial(at(b), OFFER, cancel_on_end=False) as second,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(join, first, second)
            await until(
                lambda: (
                    "m=audio 5002" in calls[0].remote_sdp and "m=audio 5001" in calls[1].remote_sdp
                )
            )
            await calls[0].reinvite(sdp.offer("192.0.2.2", 5555))
            assert "m=audio 5555" in calls[1].remote_sdp
            calls[1].hang_up("Q.850;cause=16")
            await until(lambda: results)
            assert results[0].by == "them"
            assert first.ended is not None
            assert first.ended.reason == "Q.850;cause=16"


async def test_bridge_of_a_call_dialled_without_offer() -> None:
    calls: list[Call] = []

    async def serve(invitation: Invitation) -> None:
        text = (
            sdp.offer("192.0.2.2", 5002)
            if invitation.offer is None
            else answer_to(invitation.offer, 5001)
        )
        async with invitation.accept(text) as call:
            calls.append(call)
            call.answers = lambda offer: answer_to(offer, 5001)
            await trio.sleep_forever()

    async with (
        two(serve) as (a, b),
        a.dial(at(b), OFFER) as first,
        a.dial(at(b), None) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(bridge, first, second)
        await until(lambda: len(calls) == 2 and calls[1].remote_sdp)
        assert "m=audio 5001" in calls[1].remote_sdp
        assert "m=audio 5002" in calls[0].remote_sdp
        nursery.cancel_scope.cancel()


async def test_adopted() -> None:
    """Another process goes on with the call: in order, with the same tags, from its own address."""
    seen: list[Call] = []

    async def serve(invitation: Invitation) -> None:
        async with invitation.accept(answer_to(invitation.offer)) as call:
            seen.append(call)
            call.answers = answer_to
            await trio.sleep_forever()

    async with two(serve) as (a, b):
        async with a.dial(at(b), OFFER) as call:
            await call.reinvite(sdp.offer("192.0.2.1", 4001))
            exported = call.export()
            call.release()
        assert not a.calls
        host = a.address.rpartition(".")[0] + ".3"
        async with UserAgent(host, 5060, name="c") as c:
            async with c.adopt(exported) as adopted:
                answer = await adopted.reinvite(sdp.offer("192.0.2.3", 4003))
                assert "m=audio 5000" in answer
                assert seen[0].dialog.target == f"sip:c@{host}:5060"
                assert "m=audio 4003" in seen[0].remote_sdp
                await seen[0].info("text/plain", b"to the new one")
            await until(lambda: seen[0].ended)
            assert len(seen) == 1


@pytest.mark.parametrize("alive", [True, False])
async def test_ringing_call_adopted(alive: bool) -> None:
    """One that rang at another process is answered, in the same early dialog.

    The other process died (here: says nothing more), or has left it to us.
    """
    exported: list[bytes] = []

    async def serve(invitation: Invitation) -> None:
        invitation.ring()
        exported.append(invitation.export())
        if alive:
            invitation.release()
        else:
            await trio.sleep_forever()

    async with two(serve) as (a, b):
        host = a.address.rpartition(".")[0] + ".3"

        async def take_over() -> None:
            await until(lambda: exported)
            invitation = c.adopt_invitation(exported[0])
            async with invitation.accept(answer_to(invitation.offer, 5003)) as call:
                await call.wait_ended()

        async with UserAgent(host, 5060, name="c") as c, trio.open_nursery() as nursery:
            nursery.start_soon(take_over)
            async with a.dial(at(b), OFFER) as call:
                assert "m=audio 5003" in call.remote_sdp
                assert call.dialog.target == f"sip:c@{host}:5060"
            await until(lambda: not c.calls)


async def test_ended_calls_say_so() -> None:
    async with two() as (a, b):
        async with a.dial(at(b), OFFER) as call:
            pass
        with pytest.raises(CallEndedError):
            await call.reinvite(OFFER)
        with pytest.raises(CallEndedError):
            await call.info("text/plain", b"")
        call.hang_up()


async def test_an_offer_that_cannot_be_answered() -> None:
    async with two() as (a, b):
        with pytest.raises(CallRefusedError) as refused:
            async with a.dial(at(b), sdp.offer("192.0.2.1", 4000, (sdp.Codec("G722"),))):
                pytest.fail("there is no codec")
        assert refused.value.status == 488


async def test_an_error_in_a_nursery_while_the_caller_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Cancelled and an error of SIP at once: that too ends no other call, and is no fault."""
    left: list[str] = []

    async def serve(invitation: Invitation) -> None:
        if invitation.called.user != "fault":
            await accept(invitation)
            return
        invitation.ring()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                left.append(invitation.state)
                invitation.ring()

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        with trio.move_on_after(0.1):
            async with a.dial(at(b).replace("sip:b@", "sip:fault@"), OFFER):
                pytest.fail("nobody answers")
        await until(lambda: left == ["given up"])
        await call.info("text/plain", b"still there")
        async with a.dial(at(b), OFFER):
            pass
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_fault_in_ones_own_code_ends_one_call() -> None:
    kept: list[Call] = []

    def faulty(offer: str) -> str:
        raise ZeroDivisionError(offer[:1])

    async def serve(invitation: Invitation) -> None:
        if invitation.called.user == "fault":
            raise ZeroDivisionError
        async with invitation.accept(answer_to(invitation.offer)) as call:
            kept.append(call)
            call.answers = faulty
            await call.wait_ended()

    async with two(serve) as (a, b), a.dial(at(b), OFFER) as call:
        with pytest.raises(CallRefusedError) as refused:
            async with a.dial(at(b).replace("sip:b@", "sip:fault@"), OFFER):
                pytest.fail("its task failed")
        assert refused.value.status == 500
        with pytest.raises(CallRefusedError) as refused:
            await call.reinvite(sdp.offer("192.0.2.1", 4001))
        assert refused.value.status == 500
        assert kept[0].negotiation.pending == ""
        await call.info("text/plain", b"still there")


async def test_closing_hangs_up() -> None:
    """Who leaves the user agent's block has said BYE to its calls, and 480 to those that ring."""
    with loopback_network() as network, trio.fail_after(60):
        async with UserAgent(f"{network}.1", 5060, name="a") as a, trio.open_nursery() as nursery:
            ended: list[Ended] = []
            statuses: list[int] = []

            async def talk(target: str) -> None:
                try:
                    async with a.dial(target, OFFER, cancel_on_end=False) as call:
                        ended.append(await call.wait_ended())
                except CallRefusedError as refused:
                    statuses.append(refused.status)

            async with UserAgent(f"{network}.2", 5060, name="b") as b:
                nursery.start_soon(talk, at(b))
                first = await anext(b.invitations())
                nursery.start_soon(talk, at(b))
                second = await anext(b.invitations())
                second.ring()
                async with first.accept(answer_to(first.offer)) as call:
                    await until(lambda: not call.offers.unacknowledged)
                    exported = call.export()
                    call.release()
                adopted = adopt_call(b, exported)  # it is in no block that would hang it up
                assert b.calls[-1] is adopted
            await until(lambda: ended and statuses)
            assert ended[0].by == "them"
            assert statuses == [480]
            nursery.cancel_scope.cancel()


async def test_strangers_get_nothing() -> None:
    with loopback_network() as network, trio.fail_after(60):
        mine = f"{network}.1"
        async with (
            UserAgent(mine, 5060) as a,
            UserAgent(f"{network}.3", 5060) as stranger,
            UserAgent(f"{network}.2", 5060, name="b", trusted=lambda host: host == mine) as b,
        ):
            await a.request("OPTIONS", at(b))
            with trio.move_on_after(0.3) as waiting:
                await stranger.request("OPTIONS", at(b))
            assert waiting.cancelled_caught


async def test_a_name_without_a_call_manager() -> None:
    with loopback_network() as network, trio.fail_after(5):
        async with UserAgent(f"{network}.1", 0) as a:
            with pytest.raises(RequestFailedError):
                async with a.dial("sip:x@example.com", OFFER):
                    pytest.fail("nobody knows where that is")


async def test_nobody_there() -> None:
    with loopback_network() as network:
        async with UserAgent(f"{network}.1", 0) as a:
            with pytest.raises(RequestFailedError):
                async with a.dial(f"sip:x@{network}.9:5999;transport=tcp", OFFER):
                    pytest.fail("nobody is there")
