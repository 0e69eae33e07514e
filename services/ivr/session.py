"""One call at an IVR server: feeds its machine with what happens, and does what that says."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import trio

from services.core import passport
from services.core.audio import AudioError, AudioPlane, Clip, Digit, Playback, tones
from services.core.configuration import Destination
from services.core.passport import Passport
from services.core.sip import Call, CallRefusedError, SipError, UserAgent, bridge, sdp
from services.ivr import call as it
from services.ivr.boxes import Boxes
from services.ivr.cluster import CallManagers, ask_web
from services.ivr.ears import Ears
from services.ivr.library import Library
from services.ivr.menu import Machine
from services.ivr.names import search
from services.ivr.visit import Visit

log = logging.getLogger(__name__)


ANSWERS = 3.0
"""Seconds beyond the time that somebody is rung, for the Call Manager to say how it ended."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What all calls share. ``book`` gives the newest configuration of a tenant's."""

    agent: UserAgent
    library: Library
    managers: CallManagers
    web: httpx.AsyncClient
    key: bytes
    domain: str
    book: Callable[[str], it.Book]
    plane: AudioPlane
    boxes: Boxes


class Session:
    """One caller's call. ``ears`` are connected already; `run` returns when the call is over."""

    def __init__(self, server: Server, machine: Machine, ears: Ears, ticket: Passport) -> None:
        self._server = server
        self._machine = machine
        self._ears = ears
        self._call = ears.call
        self._leg = ears.leg
        self._ticket = ticket
        self._tell, self._inbox = trio.open_memory_channel[it.Event](math.inf)
        self._playback: Playback | None = None
        self._playing = 0
        self._told: list[str] = []
        self._visit = Visit(server.boxes, server.plane, ears, ticket, self._tell.send_nowait)
        self._nursery: trio.Nursery

    async def run(self, to: Destination) -> None:
        """From the first prompt to the end."""
        try:
            await self._run(to)
        finally:
            # The caller has hung up, and this is cancelled: what he has said is kept.
            for command in self._machine.take(it.Ended(), time.time()):
                if isinstance(command, it.Keep):
                    self._visit.keep(command)

    async def _run(self, to: Destination) -> None:
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._keys)
            self._do(self._machine.begin(to, time.time()))
            while not isinstance(self._machine.state.doing, it.Over):
                event = await self._next()
                self._machine.book = self._server.book(self._ticket.tenant)
                self._do(self._machine.take(event, time.time()))
            self._nursery.cancel_scope.cancel()

    async def _next(self) -> it.Event:
        deadline = self._machine.state.deadline
        left = deadline - time.time() if deadline else math.inf
        with trio.move_on_after(max(0.0, left)):
            return await self._inbox.receive()
        return it.Time()

    async def _keys(self) -> None:
        async for event in self._leg.events():
            if isinstance(event, Digit):
                self._tell.send_nowait(it.Digit(event.digit))

    def _do(self, commands: list[it.Command]) -> None:
        for command in commands:
            match command:
                case it.Play():
                    self._quiet()
                    self._playing = command.serial
                    self._nursery.start_soon(self._play, command)
                case it.Stop():
                    self._quiet()
                case it.Ask():
                    self._nursery.start_soon(self._ask, command)
                case it.Find():
                    self._nursery.start_soon(self._find, command)
                case it.Connect():
                    self._nursery.start_soon(self._connect, command)
                case it.Record():
                    self._nursery.start_soon(self._visit.record, command)
                case it.StopRecording():
                    self._visit.stop()
                case it.Keep():
                    self._visit.keep(command)
                case it.OpenBox() | it.Unlock() | it.Mark() | it.SetPin() | it.SetGreeting():
                    self._nursery.start_soon(self._visit.ask, command)
                case it.HangUp():
                    self._call.hang_up()
        self._tell_way()

    def _quiet(self) -> None:
        self._playing = 0
        if self._playback is not None:
            self._playback.stop()
            self._playback = None

    async def _play(self, command: it.Play) -> None:
        clips: list[Clip] = []
        own: list[Clip] = []
        for line in command.lines:
            try:
                clip = await self._visit.clip(line)
                if clip is None:
                    clip = await self._server.library.clip(line.language, line.sound)
                else:
                    own.append(clip)
                clips.append(clip)
            except (LookupError, AudioError) as error:
                log.warning("call %s misses a prompt: %s", self._call.call_id, error)
        if self._playing != command.serial:
            return
        if clips:
            playback = self._leg.play(clips, position=int(command.start * self._server.plane.rate))
            self._playback = playback
            for clip in own:
                clip.close()  # when it has been heard
            if not (await playback).whole:
                return
        self._tell.send_nowait(it.Played(command.serial))

    async def _ask(self, command: it.Ask) -> None:
        answer = await ask_web(self._server.web, command.url, command.body, command.deadline)
        self._tell.send_nowait(it.Answered(command.serial, answer))

    async def _find(self, command: it.Find) -> None:
        try:
            people = await self._server.managers.people(self._ticket.tenant)
        except LookupError as error:
            log.warning("no names of %s: %s", self._ticket.tenant, error)
            people = ()
        found, more = search(command.keys, people)
        self._tell.send_nowait(it.Names(command.serial, found, more))

    async def _connect(self, command: it.Connect) -> None:
        """Ring somebody, the caller hearing that it rings; then connect the two."""
        self._quiet()
        where = tones.country(self._machine.state.language)
        waiting = self._leg.play(self._server.plane.tone("ringback", where), loop=True)
        agent, ticket = self._server.agent, self._ticket
        call_id = f"{secrets.token_hex(12)}@{agent.address}"
        onward = Passport(
            tenant=ticket.tenant,
            kind=command.to.kind,
            target=command.to.target,
            caller=ticket.caller,
            name=ticket.name,
            extension=ticket.extension,
            trunk=ticket.trunk,
            anonymous=ticket.anonymous,
            called=ticket.called,
            own=command.own,
            within=self._call.call_id,
            hops=ticket.hops,
        )
        value = passport.seal(self._server.key, "onward", call_id, onward, time.time())
        code = 480
        # A group rings step by step, each as long as it says; its own time is the Call Manager's.
        limit = command.ring if command.to.kind in ("extension", "number") else 180
        # What the caller can hear is what is offered: the two need no further word about it.
        offer = self._call.remote_sdp
        try:
            with trio.move_on_after(limit) as patience:
                async with agent.dial(
                    f"sip:{command.to.target}@{self._server.domain}",
                    offer,
                    caller=f"<sip:{ticket.caller or 'anonymous'}@{self._server.domain}>",
                    call_id=call_id,
                    headers=[(passport.HEADER, value)],
                    cancel_on_end=False,
                ) as callee:
                    patience.deadline = math.inf
                    waiting.stop()
                    self._ears.be_still(still=True)
                    await self._join(offer, callee)
                    self._tell.send_nowait(it.Joined(command.serial))
                    ended = await bridge(self._call, callee, connected=True)
                    self._tell.send_nowait(it.Ended(ended.reason or "callee"))
                    return
        except CallRefusedError as error:
            code = error.status
        except SipError as error:
            log.info("call %s was not connected: %s", self._call.call_id, error)
        finally:
            waiting.stop()
        self._ears.be_still(still=False)
        self._tell.send_nowait(it.Refused(command.serial, code))

    async def _join(self, offer: str, callee: Call) -> None:
        """Let the caller's media go to the callee's, by re-INVITE (RFC 3725 section 7).

        Raises SipError where the caller does not take them.
        """
        answer = await self._call.reinvite(callee.remote_sdp)
        there, before = sdp.audio(answer), sdp.audio(offer)
        if there is None or before is None or there[:2] != before[:2]:
            await callee.reinvite(answer)

    def _tell_way(self) -> None:
        """Let the call's record have the way that it took, as far as it got."""
        way = list(self._machine.state.way)
        doing = self._machine.state.doing
        if isinstance(doing, it.Connecting | it.Connected):
            joined = isinstance(doing, it.Connected)
            kind = doing.to.kind.replace("_", " ")
            way.append(f"{kind} {doing.to.target}{' answered' if joined else ''}")
        if way != self._told:
            self._told = way
            self._nursery.start_soon(self._server.managers.tell_way, self._call.call_id, way)
