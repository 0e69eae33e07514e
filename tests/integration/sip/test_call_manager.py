"""The user agent behind a real Call Manager: signed Contacts, Record-Route, media in between."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pbxctl.probe import protocol
from pbxctl.probe.softphone import soft_phone
from services.core.sip import (
    Call,
    CallRefusedError,
    Credentials,
    Ended,
    Flow,
    Invitation,
    Offered,
    Referred,
    UserAgent,
    bridge,
    sdp,
)
from tests.integration.calls.lab import SALES, Lab
from tests.support.kamailio import PASSWORD
from tests.support.sipp import sipp
from tests.support.waiting import until

CALLER = Path(__file__).parent / "scenarios/caller.xml"
_hosts = itertools.cycle(range(60, 99))


@asynccontextmanager
async def server(lab: Lab, extension: str = "") -> AsyncGenerator[UserAgent]:
    """A user agent at an address of its own, registered as ``extension``."""
    manager = Flow("udp", lab.address, 5060)
    async with UserAgent(f"{lab.network}.{next(_hosts)}", 5060, manager=manager) as agent:
        if extension:
            aor = f"<sip:{extension}@{SALES}>"
            await agent.request(
                "REGISTER",
                f"sip:{SALES}",
                caller=aor,
                to=aor,
                headers=[("Expires", "600")],
                credentials=Credentials(extension, PASSWORD),
            )
        yield agent


def dial(agent: UserAgent, called: str, caller: str = "2002", **more: object):
    return agent.dial(
        f"sip:{called}@{SALES}",
        sdp.offer(agent.address, 40000),
        caller=f'"Caller" <sip:{caller}@{SALES}>',
        credentials=Credentials(caller, PASSWORD),
        **more,  # type: ignore[arg-type]
    )


def answers(agent: UserAgent, port: int = 42000):
    return lambda offer: sdp.answer(offer, agent.address, port)[0]


class Answerer:
    """Takes calls, answers offers, keeps what it saw."""

    def __init__(self, agent: UserAgent, *, rings: bool = True) -> None:
        self.agent = agent
        self.rings = rings
        self.calls: list[Call] = []
        self.ended: list[Ended] = []

    async def __call__(self, invitation: Invitation) -> None:
        if self.rings:
            invitation.ring()
        assert invitation.offer is not None
        text = answers(self.agent)(invitation.offer)
        async with invitation.accept(text) as call:
            call.answers = answers(self.agent)
            self.calls.append(call)
            await call.wait_ended()
        assert call.ended is not None
        self.ended.append(call.ended)


async def test_call_and_renegotiation(lab: Lab) -> None:
    """Both ways through the Call Manager; each sees a media server, never the other."""
    async with server(lab, "2001") as b, server(lab) as a, trio.open_nursery() as nursery:
        answerer = Answerer(b)
        nursery.start_soon(b.serve, answerer)
        async with dial(a, "2001") as call:
            call.answers = answers(a, 40000)
            media = sdp.audio(call.remote_sdp)
            assert media is not None
            assert media.address in (f"{lab.network}.21", f"{lab.network}.22")
            assert "pbx-to=" in call.dialog.target
            await call.reinvite(sdp.offer(a.address, 40002))
            held = sdp.audio(await call.hold())
            assert held is not None
            assert held.direction == "recvonly"
            await call.resume()
            await answerer.calls[0].reinvite(sdp.offer(b.address, 42002))
            await answerer.calls[0].info("application/dtmf-relay", b"Signal=1\r\n")
            offered = await call.request_offer()
            call.answer(sdp.answer(offered, a.address, 40004)[0])
        await until(lambda: answerer.ended)
        assert answerer.ended[0].by == "them"
        lab.idle()
        nursery.cancel_scope.cancel()


async def test_refused_and_cancelled(lab: Lab) -> None:
    async with server(lab, "2001") as b, server(lab) as a, trio.open_nursery() as nursery:
        rings: list[Invitation] = []

        async def serve(invitation: Invitation) -> None:
            rings.append(invitation)
            if len(rings) == 1:
                invitation.reject(603)
                return
            invitation.ring()
            await trio.sleep_forever()

        nursery.start_soon(b.serve, serve)
        with pytest.raises(CallRefusedError) as refused:
            async with dial(a, "2001"):
                pytest.fail("it was refused")
        assert refused.value.status == 603
        with trio.CancelScope() as patience:
            async with dial(a, "2001", on_progress=lambda _: patience.cancel()):
                pytest.fail("it only rang")
        await until(lambda: len(rings) == 2 and rings[1].state == "given up")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("who", ["callee", "caller"])
async def test_adopted_behind_the_call_manager(lab: Lab, who: str) -> None:
    """A server dies; another re-INVITEs from its own address, and requests come to it from then."""
    async with server(lab, "2001") as b, server(lab) as a, trio.open_nursery() as nursery:
        answerer = Answerer(b)
        nursery.start_soon(b.serve, answerer)
        async with dial(a, "2001", cancel_on_end=False) as call:
            call.answers = answers(a, 40000)
            await until(lambda: answerer.calls)
            dead, other = (call, answerer.calls[0])
            if who == "callee":
                dead, other = other, dead
            exported = dead.export()
            dead.release()
            async with server(lab) as c, c.adopt(exported) as adopted:
                adopted.answers = answers(c, 44000)
                await adopted.reinvite(sdp.offer(c.address, 44000))
                await other.reinvite(sdp.offer(other.agent.address, 46000))
                other.hang_up("Q.850;cause=16")
                ended = await adopted.wait_ended()
                assert ended.by == "them"
        lab.idle()
        nursery.cancel_scope.cancel()


async def test_ringing_call_adopted_behind_the_call_manager(lab: Lab) -> None:
    """The second server answers the first one's INVITE; the Call Manager takes that."""
    async with (
        server(lab, "2001") as b,
        server(lab) as c,
        server(lab) as a,
        trio.open_nursery() as nursery,
    ):
        calls: list[Call] = []

        async def serve(invitation: Invitation) -> None:
            invitation.ring()
            nursery.start_soon(take, invitation.export())
            await trio.sleep_forever()

        async def take(exported: bytes) -> None:
            invitation = c.adopt_invitation(exported)
            assert invitation.offer is not None
            async with invitation.accept(answers(c)(invitation.offer)) as call:
                calls.append(call)
                call.answers = answers(c)
                await call.wait_ended()

        nursery.start_soon(b.serve, serve)
        async with dial(a, "2001") as call:
            await call.reinvite(sdp.offer(a.address, 40002))
        await until(lambda: calls and calls[0].ended)
        assert calls[0].ended is not None
        assert calls[0].ended.by == "them"
        nursery.cancel_scope.cancel()


async def test_bridge_behind_the_call_manager(lab: Lab) -> None:
    """A server that took a call dials another and joins both."""
    async with (
        server(lab, "2001") as b,
        server(lab, "2003") as agent,
        server(lab) as a,
        trio.open_nursery() as nursery,
    ):
        answerer = Answerer(agent)
        nursery.start_soon(agent.serve, answerer)

        async def serve(invitation: Invitation) -> None:
            assert invitation.offer is not None
            text = answers(b)(invitation.offer)
            async with (
                invitation.accept(text, cancel_on_end=False) as first,
                dial(b, "2003", "2001", cancel_on_end=False) as second,
            ):
                await bridge(first, second)

        nursery.start_soon(b.serve, serve)
        async with dial(a, "2001") as call:
            call.answers = answers(a, 40000)

            def joined() -> bool:
                return bool(answerer.calls) and call.dialog.remote_cseq >= 0

            await until(joined)
        await until(lambda: answerer.ended)
        lab.idle()
        nursery.cancel_scope.cancel()


async def test_sipp(lab: Lab) -> None:
    """A carrier calls a number of ours through the Call Manager, 40 calls at 20 a second."""
    async with server(lab, "2001") as b, trio.open_nursery() as nursery:
        # Kamailio's workers may have a 200 overtake a 180, which SIPp takes for a fault
        answerer = Answerer(b, rings=False)
        nursery.start_soon(b.serve, answerer)
        caller = sipp(
            CALLER,
            address=f"{lab.network}.102",
            target=f"{lab.address}:5060",
            calls=40,
            rate=20,
            options=["-s", "+49301001"],
        )
        async with caller as calling:
            await calling.succeed()
        await until(lambda: len(answerer.ended) == 40)
        assert {ended.by for ended in answerer.ended} == {"them"}
        lab.idle()
        nursery.cancel_scope.cancel()


async def test_soft_phone(lab: Lab) -> None:
    """PJSIP calls, is put on hold, transfers us, hangs up."""
    start = protocol.Start(transport="udp", address=f"{lab.network}.{next(_hosts)}")
    async with (
        server(lab, "2001") as b,
        soft_phone("phone", start) as phone,
        trio.open_nursery() as nursery,
    ):
        seen: list[str] = []

        async def serve(invitation: Invitation) -> None:
            assert invitation.offer is not None
            await invitation.progress(answers(b)(invitation.offer))
            async with invitation.accept("") as call:
                async for event in call.events():
                    seen.append(type(event).__name__)
                    if isinstance(event, Offered):
                        assert event.sdp is not None
                        event.accept(answers(b)(event.sdp))
                    elif isinstance(event, Referred):
                        assert event.target.startswith("sip:2003@")
                        event.accept()
                        event.report(200)
            assert call.ended is not None
            seen.append(f"ended by {call.ended.by}")

        nursery.start_soon(b.serve, serve)
        await phone.do(
            protocol.Register(
                aor=f"sip:2002@{SALES}",
                server=f"sip:{lab.address}",
                username="2002",
                password=PASSWORD,
                prack=True,
            )
        )
        await phone.wait(protocol.Registered)
        done = await phone.do(protocol.Dial(uri=f"sip:2001@{SALES}"))
        assert done.call is not None
        await phone.wait(protocol.Changed, lambda event: event.state == "confirmed")
        await phone.do(protocol.Hold(call=done.call))
        await until(lambda: "Offered" in seen)
        await phone.do(protocol.Transfer(call=done.call, uri=f"sip:2003@{SALES}"))
        await phone.wait(protocol.Transferred, lambda event: event.final)
        await until(lambda: "Referred" in seen)
        await phone.do(protocol.Hangup(call=done.call))
        await until(lambda: "ended by them" in seen)
        nursery.cancel_scope.cancel()
