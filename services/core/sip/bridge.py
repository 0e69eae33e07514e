"""Two calls made one: third-party call control by RFC 3725, for as long as both are up."""

from __future__ import annotations

from collections.abc import Callable

import trio

from services.core.sip import sdp
from services.core.sip.call import Call
from services.core.sip.errors import CallRefusedError, MalformedError, SipError
from services.core.sip.events import (
    Answered,
    Ended,
    Event,
    InfoReceived,
    MessageReceived,
    Offered,
)


async def bridge(
    first: Call,
    second: Call,
    *,
    connected: bool = False,
    on_event: Callable[[Call, Event], None] | None = None,
) -> Ended:
    """Connect the media of two calls; returns when one has ended and the other was hung up.

    Where ``second`` was dialled without an offer, what it offers goes to ``first`` (flow I of RFC
    3725), otherwise ``first`` is asked for its offer. From then on each hears the other's offers,
    INFO and MESSAGE. ``connected``: their media are already. ``on_event`` is given what else
    comes, such as `Referred`. `CallRefusedError` if one of them will not take the other's media;
    both are still up then.
    """
    hooks = first.answers, second.answers
    first.answers = second.answers = None
    ends: list[Ended] = []
    try:
        if not connected:
            await _connect(first, second)
        async with trio.open_nursery() as nursery:

            async def follow(one: Call, other: Call) -> None:
                ends.append(await _follow(one, other, on_event))
                other.hang_up(ends[0].reason)
                nursery.cancel_scope.cancel()

            nursery.start_soon(follow, first, second)
            nursery.start_soon(follow, second, first)
    finally:
        first.answers, second.answers = hooks
    return ends[0]


async def _connect(first: Call, second: Call) -> None:
    if second.offer is not None:
        second.answer(await first.reinvite(second.offer))
    elif first.offer is not None:
        first.answer(await second.reinvite(first.offer))
    else:
        offer = await first.request_offer()
        try:
            answer = await second.reinvite(offer)
        except BaseException:
            if first.offer is not None:
                first.answer(sdp.refusal(offer))
            raise
        first.answer(answer)


async def _follow(one: Call, other: Call, on_event: Callable[[Call, Event], None] | None) -> Ended:
    """Pass on what ``one`` says until it ends."""
    async for event in one.events():
        try:
            match event:
                case Ended():
                    return event
                case Offered():
                    await _pass_offer(event, other)
                case Answered():
                    if other.offer is not None:
                        other.answer(event.sdp)
                case InfoReceived():
                    await other.info(event.content_type, event.body)
                case MessageReceived():
                    await other.message(event.body.decode("utf-8", "replace"), event.content_type)
                case _:
                    if on_event is not None:
                        on_event(one, event)
        except SipError:  # it is for the other call, whose end is seen by who follows that
            continue
    return one.ended or Ended(by="us")


async def _pass_offer(event: Offered, other: Call) -> None:
    try:
        if event.sdp is None:
            event.accept(await other.request_offer())
        else:
            event.accept(await other.reinvite(event.sdp))
    except CallRefusedError as error:
        event.reject(error.status, error.reason)
    except MalformedError:
        event.reject(488)
