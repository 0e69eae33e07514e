"""A media server dies in the middle of a call, and the call goes on at another: by re-INVITE."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio

from pbxctl.probe.softphone import PhoneError
from tests.integration.phones.test_browser import both_hear, registered
from tests.support.browser import Browser
from tests.support.pbx import Pbx, pbx, user
from tests.support.phones import PhoneCall, hear_each_other, talk

log = logging.getLogger(__name__)

WITHIN = 20.0


@pytest.fixture(scope="module")
def office() -> Iterator[Pbx]:
    with pbx(edit=lambda spec: user(spec, "2009").update(record=True)) as running:
        yield running


async def the_call(office: Pbx) -> dict[str, Any]:
    (found,) = await office.admin("/v1/calls")
    return found


@contextmanager
def killed(office: Pbx, server: str) -> Iterator[None]:
    """Its rtpengine; it is started again."""
    (pid,) = office.processes("rtpengine", address_of(office, server))
    os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def hung(office: Pbx, server: str) -> Iterator[None]:
    """Its rtpengine, for as long as the test lasts."""
    (pid,) = office.processes("rtpengine", address_of(office, server))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def address_of(office: Pbx, server: str) -> str:
    return next(s["address"] for s in office.spec["servers"] if s["name"] == server)


def led(office: Pbx) -> int:
    """How often calls have been led anew."""
    return office.logs(10_000).count("its media are led to")


async def led_anew(office: Pbx, before: int) -> float:
    """Seconds until the agent has said that it has led a call anew."""
    began = trio.current_time()
    with trio.move_on_after(WITHIN):
        while led(office) == before:  # noqa: ASYNC110 - a log of another process
            await trio.sleep(0.05)
        return trio.current_time() - began
    raise AssertionError(office.logs(80))


PHONES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "encrypted": ({"transport": "tls", "encryption": "mandatory"}, {}),
    "transcoded": ({"codecs": ("PCMU/8000",)}, {"codecs": ("PCMA/8000",)}),
}


@asynccontextmanager
async def up(
    office: Pbx, kind: str, caller: str = "2001"
) -> AsyncGenerator[tuple[PhoneCall, PhoneCall]]:
    near_is, far_is = PHONES[kind]
    async with (
        office.phone(caller, voice=0, **near_is) as anna,
        office.phone("2002", voice=1, **far_is) as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0), seconds=1)
        yield near, far


async def works(office: Pbx, near: PhoneCall, far: PhoneCall) -> None:
    """Everything that phones do in a call, from both sides."""
    for one, other, voices in ((near, far, (1, 0)), (far, near, (0, 1))):
        await one.hold()
        await soon(one.resume)
        await soon(partial(hear_each_other, (one, voices[0]), (other, voices[1]), seconds=1))


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        ("plain", hung),
        ("transcoded", killed),
        pytest.param("plain", killed, marks=pytest.mark.long),
        pytest.param("encrypted", killed, marks=pytest.mark.long),
        pytest.param("encrypted", hung, marks=pytest.mark.long),
        pytest.param("transcoded", hung, marks=pytest.mark.long),
    ],
)
async def test_a_call_goes_on_at_another_server(
    office: Pbx, kind: str, fails: Callable[[Pbx, str], Any]
) -> None:
    async with up(office, kind) as (near, far):
        call = await the_call(office)
        before = led(office)
        with fails(office, call["media"]):
            took = await led_anew(office, before)
            log.info("%s, %s: led anew %.2f s after the failure", kind, fails.__name__, took)
            await soon(partial(hear_each_other, (near, 1), (far, 0), seconds=1))
            await works(office, near, far)
            now = await the_call(office)
            # One that is killed may be back before its calls are led elsewhere.
            assert fails is killed or now["media"] != call["media"]
            await (near if kind == "plain" else far).hang_up()
            await (far if kind == "plain" else near).ended()
            records: list[dict[str, Any]] = []
            with trio.fail_after(WITHIN):
                while not records:
                    records = await office.admin("/v1/events", params={"call": call["id"]})
                    await trio.sleep(0.2)
            assert [(r["reason"], r["media"]) for r in records] == [
                ("Normal Clearing", now["media"])
            ]


async def soon(work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Do it until it succeeds: sound settles, and a phone may be busy with an offer of its own."""
    until = trio.current_time() + WITHIN
    done = False
    while not done:
        try:
            await work(*arguments)
            done = True
        except* (AssertionError, PhoneError):
            if trio.current_time() > until:
                raise
            await trio.sleep(0.1)


async def browser_call(page: Browser, extension: str) -> None:
    assert await page.dial(extension) == 200, await page.describe("no answer")


async def changed(page: Browser) -> None:
    """It offers again."""
    status = await page.change()
    assert status == 200, await page.describe(f"not changed: {status}")


@pytest.mark.parametrize(
    ("calls", "fails"),
    [
        pytest.param("phone", killed, marks=pytest.mark.long),
        pytest.param("phone", hung, marks=pytest.mark.long),
        pytest.param("browser", killed, marks=pytest.mark.long),
        pytest.param("browser", hung, marks=pytest.mark.long),
    ],
)
async def test_a_browser_hears_again(
    office: Pbx, calls: str, fails: Callable[[Pbx, str], Any]
) -> None:
    async with (
        registered(office, "2001", voice=0) as page,
        # With several codecs pjsip makes an offer of its own soon after each answer, to settle on
        # one, and meets those of the browser.
        office.phone("2002", voice=1, codecs=("PCMA/8000",)) as ben,
        trio.open_nursery() as nursery,
    ):
        if calls == "browser":
            nursery.start_soon(browser_call, page, "2002")
            call = await ben.called()
            await call.ring()
            await call.answer()
        else:
            call = await ben.dial("2001")
            await page.accept()
            await call.until("confirmed")
        await page.until("connection", "connected")
        await soon(both_hear, page, 0, call, 1)
        media = (await the_call(office))["media"]
        before = led(office)
        with fails(office, media):
            took = await led_anew(office, before)
            began = trio.current_time()
            await page.until("connection", "connected", count=2)
            after = trio.current_time() - began
            log.info(
                "browser, %s: led anew after %.2f s, joined in %.2f", fails.__name__, took, after
            )
            await soon(both_hear, page, 0, call, 1)
            await call.hold()
            await soon(call.resume)
            await changed(page)
            await soon(both_hear, page, 0, call, 1)
            if calls == "browser":
                assert await page.hang_up() == 200
                await call.ended()
            else:
                await call.hang_up()
                await page.until("ended", "by the far end")


@pytest.mark.long
async def test_two_browsers_hear_each_other_again(office: Pbx) -> None:
    async with (
        registered(office, "2001", voice=0) as page,
        registered(office, "2002", voice=1) as other,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(browser_call, page, "2002")
        await other.accept()
        await page.until("connection", "connected")
        await other.until("connection", "connected")

        async def all_hear() -> None:
            for one, voice in ((page, 1), (other, 0)):
                heard = await one.hears(voice)
                assert heard.coverage > 0.95, await one.describe(str(heard))
                assert heard.likeness > 0.8, await one.describe(str(heard))

        await soon(all_hear)
        before = led(office)
        with killed(office, (await the_call(office))["media"]):
            took = await led_anew(office, before)
            began = trio.current_time()
            for one in (page, other):
                await one.until("connection", "connected", count=2)
                after = trio.current_time() - began
                log.info("two browsers: led anew after %.2f s, joined in %.2f", took, after)
            await soon(all_hear)
            await changed(other)
            await soon(all_hear)
            assert await other.hang_up() == 200
            await page.until("ended", "by the far end")
