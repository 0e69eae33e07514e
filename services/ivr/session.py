"""One call at an IVR server: feeds its machine with what happens, and does what that says."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from services.core.audio import AudioError, Clip, Digit, Playback
from services.core.configuration import Destination
from services.core.menus import web_secret
from services.core.passport import Passport
from services.core.sip import SipError
from services.ivr import call as it
from services.ivr.ears import Ears
from services.ivr.menu import Machine
from services.ivr.names import search
from services.ivr.onward import Onward
from services.ivr.server import Server
from services.ivr.snapshot import KEYS, Snapshot, dump, unheard
from services.ivr.visit import Visit

log = logging.getLogger(__name__)

PROGRESS = 1.0
"""Seconds between looks at how far a prompt is: what is heard twice at most after a take-over."""
MOVED = "ivr"
"""Why a call is ended that rang for a server that is gone."""


class Session:
    """One caller's call; `run` and `resume` return when the call is over."""

    def __init__(
        self, server: Server, machine: Machine, ears: Ears, ticket: Passport, heard: str = ""
    ) -> None:
        self._server = server
        self._machine = machine
        self._ears = ears
        self._call = ears.call
        self._leg = ears.leg
        self._ticket = ticket
        self._heard = heard
        self._early: list[str] | None = None
        self._left = False
        self._scope = trio.CancelScope()
        self._tell, self._inbox = trio.open_memory_channel[it.Event](math.inf)
        self._playback: Playback | None = None
        self._playing = 0
        self._told: list[str] = []
        tell = self._tell.send_nowait
        self._visit = Visit(server.boxes, server.tapes, server.plane, ears, ticket, tell)
        self._onward = Onward(server, ears, ticket, tell, self.save)
        self._nursery: trio.Nursery

    async def run(self, to: Destination) -> None:
        """From the first prompt to the end. ``ears`` are connected already."""

        async def begin() -> None:
            self._do(self._machine.begin(to, time.time()))

        await self._live(begin)

    async def resume(self, found: Snapshot) -> None:
        """Go on where another server was. A caller who is gone has hung up."""
        await self._live(partial(self._resume, found))

    async def _live(self, begin: Callable[[], Awaitable[None]]) -> None:
        server = self._server
        server.sessions.add(self)
        server.saves[self._call.call_id] = self.save
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._keys)
                    await begin()
                    await self._go_on()
                    self._nursery.cancel_scope.cancel()
        finally:
            server.sessions.discard(self)
            del server.saves[self._call.call_id]
            if not self._left:
                self._end()

    async def _go_on(self) -> None:
        if self._server.journal is not None:
            self._nursery.start_soon(self._save_forever)
        while not isinstance(self._machine.state.doing, it.Over):
            self.save()
            event = await self._next()
            if isinstance(event, it.Digit):
                self._heard = (self._heard + event.key)[-KEYS:]
            self._machine.book = self._server.book(self._ticket.tenant)
            self._do(self._machine.take(event, time.time()))

    def _end(self) -> None:
        # If the caller has hung up, this was cancelled: what he has said is kept.
        for command in self._machine.take(it.Ended(), time.time()):
            if isinstance(command, it.Keep):
                self._visit.keep(command)
        self._visit.forget()
        if self._server.journal is not None:
            self._server.journal.erase(self._call.call_id)

    # Another server.

    async def _resume(self, found: Snapshot) -> None:
        state, machine, call_id = self._machine.state, self._machine, self._call.call_id
        doing = state.doing
        if isinstance(doing, it.Over):
            return
        if found.tape:
            await self._visit.restore(found.tape, _recorded(doing))
        if isinstance(doing, it.Connected) and not found.callee:
            machine.take(it.Ended("callee"), time.time())
            return
        if found.callee:
            serial = doing.serial if isinstance(doing, it.Connecting) else None
            self._nursery.start_soon(self._onward.resume, found.callee, serial)
            return
        if found.dialling:
            # Its INVITE was the other server's: nobody would hear that it is answered.
            self._nursery.start_soon(self._server.managers.end, found.dialling, MOVED)
        self._early = []
        try:
            await self._ears.move()
        except SipError as error:
            log.warning("call %s cannot be gone on with: %s", call_id, error)
            self._do(machine.take(it.Ended("server"), time.time()))
            return
        logged = await self._server.keylog.of(call_id)
        early, self._early = "".join(self._early), None
        self._do(machine.resume(time.time()))
        for key in unheard(found.heard, early, logged) + early:
            self._tell.send_nowait(it.Digit(key))

    def save(self) -> None:
        """Write down where the call is, for who may have to go on with it."""
        state, journal, callee = self._machine.state, self._server.journal, self._onward.callee
        if journal is None or self._left or self._call.ended or state.doing is None:
            return
        if self._playback is not None and not self._playback.over:
            state.position = self._playback.position / self._server.plane.rate
        found = Snapshot(
            state=state,
            ticket=self._ticket,
            caller=self._call.export(),
            heard=self._heard,
            callee=callee.export() if callee is not None and not callee.ended else b"",
            dialling=self._onward.dialling,
            tape=self._visit.tape,
        )
        journal.write(self._call.call_id, dump(found))

    async def _save_forever(self) -> None:
        """How far a prompt is: nobody else says when that has changed."""
        while True:
            await trio.sleep(PROGRESS)
            if self._playback is not None and not self._playback.over:
                self.save()

    def leave(self, *, gently: bool) -> None:
        """End without a word to anybody: another server goes on with it as it was saved last.

        ``gently``: that one will look for what is being recorded only in a moment.
        """
        self._left = True
        self._visit.leaving = gently
        self._onward.release()
        self._call.release()
        self._scope.cancel()

    # What happens, and what is done.

    async def _next(self) -> it.Event:
        deadline = self._machine.state.deadline
        left = deadline - time.time() if deadline else math.inf
        with trio.move_on_after(max(0.0, left)):
            return await self._inbox.receive()
        return it.Time()

    async def _keys(self) -> None:
        async for event in self._leg.events():
            if not isinstance(event, Digit):
                continue
            if self._early is None:
                self._tell.send_nowait(it.Digit(event.digit))
            else:
                self._early.append(event.digit)

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
                    self._quiet()
                    language = self._machine.state.language
                    self._nursery.start_soon(self._onward.connect, command, language)
                case it.Record():
                    self._nursery.start_soon(self._visit.record, command)
                case it.StopRecording():
                    self._visit.stop()
                case it.Keep():
                    self._visit.keep(command)
                case it.HangUp():
                    self._call.hang_up()
                case _:
                    self._nursery.start_soon(self._visit.ask, command)
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
        tenant, web = self._ticket.tenant, self._server.web
        secret = web_secret(tenant, command.authorization) if command.authorization else ""
        answer = await web.ask(tenant, command.url, command.body, command.deadline, secret)
        self._tell.send_nowait(it.Answered(command.serial, answer))

    async def _find(self, command: it.Find) -> None:
        try:
            people = await self._server.managers.people(self._ticket.tenant)
        except LookupError as error:
            log.warning("no names of %s: %s", self._ticket.tenant, error)
            people = ()
        found, more = search(command.keys, people)
        self._tell.send_nowait(it.Names(command.serial, found, more))

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
            self._server.ways.tell(self._call.call_id, way)


def _recorded(doing: it.Doing) -> str:
    """The digest of what was recorded and is not decided upon; empty if it is not over yet."""
    if isinstance(doing, it.Boxed) and "recording" not in doing.box.at:
        return doing.box.digest
    return ""
