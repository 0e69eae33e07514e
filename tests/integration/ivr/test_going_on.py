"""A server is gone without a word; another one goes on with its calls. What callers hear tells."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pbxctl.probe import audio
from services.core.configuration import Destination
from services.core.menus import Enter, Menu, Record, Transfer
from services.ivr.continuity import Continuity
from services.ivr.server import Server
from services.ivr.snapshot import load
from tests.integration.ivr.two_servers import KEY, Cluster, adopt, cluster, gone
from tests.support.ivr_phone import CALLEE, RATE, IvrPhone, ivr_phone
from tests.support.redis import redis
from tests.support.waiting import until

__all__ = ["cluster", "redis"]

PROMPT, NEXT, SAID = 2, 1, 0
"""Which of the probe's voices is what."""
TWICE = 1.3
"""Seconds of a prompt that may be heard again: it is written down once a second."""


@asynccontextmanager
async def at_the_menu(
    cluster: Cluster,
) -> AsyncGenerator[tuple[Server, Server, Continuity, IvrPhone]]:
    """A caller at the first of two servers; `Continuity` is the second one's."""
    async with (
        cluster.server(11) as (first, _),
        cluster.server(12) as (second, continuity),
        ivr_phone(f"{cluster.network}.21", cluster.directory) as phone,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(phone.dial, first.agent.address, KEY)
        await phone.answered.wait()
        yield first, second, continuity, phone
        phone.call.hang_up()
        nursery.cancel_scope.cancel()


async def test_a_prompt_goes_on(cluster: Cluster) -> None:
    seconds = 8.0
    cluster.menus(
        Menu(name="main", prompt=cluster.voice(PROMPT, seconds), keys={"1": ()}, after=60)
    )
    async with at_the_menu(cluster) as (first, second, continuity, phone):
        await trio.sleep(2.5)
        gone(first)
        await trio.sleep(0.5)
        adopt(cluster, continuity)
        await until(lambda: second.sessions)
        await trio.sleep(seconds)
    heard = phone.sound()
    before = audio.judge(heard, RATE, PROMPT, end=2.0)
    assert before.first is not None
    assert before.offset is not None
    # From its last words on, back from the end.
    told = [i / 50 for i in range(len(heard) // 160) if _loud(heard[i * 160 : i * 160 + 160])]
    pause = max(itertools.pairwise(told), key=lambda pair: pair[1] - pair[0])
    assert 0.3 < pause[1] - pause[0] < 1.5
    after = audio.judge(heard, RATE, PROMPT, start=pause[1] + 0.1, end=told[-1] - 0.1)
    assert after.likeness > 0.8
    assert after.coverage > 0.9
    assert after.offset is not None
    later = (after.offset - before.offset) % audio.PERIOD
    again = later - (pause[1] - pause[0])
    assert -0.1 < again < TWICE, f"{again:.2f} s were heard twice"
    spoken = (pause[0] - told[0]) + (told[-1] - pause[1])
    assert seconds - 0.1 < spoken < seconds + TWICE


def _loud(frame: audio.Samples) -> bool:
    return audio.loudness(frame) > audio.FLOOR


async def test_keys_that_were_pressed_meanwhile(cluster: Cluster) -> None:
    cluster.menus(
        Menu(name="main", keys={"12": (Enter(menu="next"),)}, after=60, between=60),
        Menu(name="next", prompt=cluster.voice(NEXT, 2.0), keys={"1": ()}, after=60),
    )
    async with at_the_menu(cluster) as (first, second, continuity, phone):
        phone.leg.send_keys("1")
        await until(lambda: b"1" in _keys(cluster))
        await trio.sleep(0.3)  # until the key has been let go
        gone(first)
        cluster.pressed = [("1", 1.0), ("2", 0.2)]
        adopt(cluster, continuity)
        await until(lambda: second.sessions)
        await until(lambda: _keys(cluster) == b"12")
        await trio.sleep(2.0)
    assert audio.judge(phone.sound(), RATE, NEXT).coverage > 0.9


def _keys(cluster: Cluster) -> bytes:
    return next(load(value).heard.encode() for value in cluster.journal.values())


async def test_two_go_on_talking(cluster: Cluster) -> None:
    to = Destination(kind="extension", target=CALLEE)
    cluster.menus(Menu(name="main", before=(Transfer(to=to),)))
    async with (
        ivr_phone(f"{cluster.network}.9", cluster.directory) as callee,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(callee.agent.serve, callee.answer)
        async with at_the_menu(cluster) as (first, second, continuity, phone):
            await callee.answered.wait()
            await trio.sleep(0.5)
            phone.say(SAID)
            callee.say(NEXT)
            await trio.sleep(1.5)
            gone(first)
            await trio.sleep(0.5)
            adopt(cluster, continuity)
            await until(lambda: second.sessions)
            await trio.sleep(1.5)
            phone.call.hang_up()
            await until(lambda: callee.call.ended)
            await until(lambda: not cluster.journal)
        nursery.cancel_scope.cancel()
    for sound, voice in ((phone.sound(), NEXT), (callee.sound(), SAID)):
        first_heard = audio.judge(sound, RATE, voice)
        assert first_heard.longest_gap < 60
        assert first_heard.duration > 3


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_message_is_whole(cluster: Cluster, *, hangs_up: bool) -> None:
    record = Record(prompt={}, most=60, silence=5, end="#", voicemail="2003")
    cluster.menus(Menu(name="main", before=(record,)))
    async with at_the_menu(cluster) as (first, second, continuity, phone):
        await until(lambda: _said(cluster))
        phone.say(SAID)
        await trio.sleep(3.2)
        gone(first)
        await trio.sleep(0.3)
        if hangs_up:
            phone.call.release()  # the dead server gets its BYE
            await trio.sleep(0.1)
        adopt(cluster, continuity)
        if not hangs_up:
            await until(lambda: second.sessions)
            await trio.sleep(3.0)
            phone.leg.send_keys("#")
        await until(lambda: list(_spool(cluster, 12).glob("*.json")))
        (message,) = _spool(cluster, 12).glob("*.wav")
    (sound, *_), rate = audio.read_wav(message)
    said = audio.judge(sound, rate, SAID)
    assert said.duration > (1.9 if hangs_up else 4.5)
    assert said.likeness > 0.75
    assert not list(_spool(cluster, 11).glob("*"))


def _said(cluster: Cluster) -> bool:
    return any(load(value).tape for value in cluster.journal.values())


def _spool(cluster: Cluster, host: int) -> Path:
    return cluster.directory / f"app{host}" / "voicemail" / "spool"
