"""What a call records, and what it does in voicemail boxes."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

import trio

from services.core.audio import AudioPlane, Clip, Recording
from services.core.passport import Passport
from services.ivr import call as it
from services.ivr.boxes import LEAST, Boxes, Left
from services.ivr.ears import Ears

log = logging.getLogger(__name__)

THERE = 2.0
"""Seconds that a caller waits for his recording to be in the store; it gets there in any case."""


class Visit:
    """One call's. ``tell`` takes what has happened."""

    def __init__(
        self,
        boxes: Boxes,
        plane: AudioPlane,
        ears: Ears,
        ticket: Passport,
        tell: Callable[[it.Event], None],
    ) -> None:
        self._boxes = boxes
        self._plane = plane
        self._leg = ears.leg
        self._call_id = ears.call.call_id
        self._ticket = ticket
        self._tell = tell
        self._recording: Recording | None = None

    async def clip(self, line: it.Line) -> Clip | None:
        """What a box holds, or what was recorded in this call; None for any other line.

        Raises LookupError and AudioError.
        """
        if line.kept:
            path = await self._boxes.sound(self._ticket.tenant, line.kept)
        elif line.sound.digest:
            path = self._boxes.path(line.sound.digest)
            if not await trio.Path(path).exists():
                return None
        else:
            return None
        return await self._plane.load(path)

    async def record(self, command: it.Record) -> None:
        """A tone, then what the caller says."""
        await self._leg.play([self._plane.beep()])
        path = self._boxes.path()
        self._recording = recording = self._leg.record(
            path, limit=command.most, silence=command.silence
        )
        recorded = await recording
        self._recording = None
        spoken = recorded.seconds - (command.silence if recorded.ended == "silence" else 0)
        digest = ""
        if spoken >= LEAST and recorded.ended != "failed":
            try:
                digest = await trio.to_thread.run_sync(self._boxes.settle, path.stem)
            except OSError as error:
                log.warning("a recording is lost: %s", error)
        if digest and command.owner is not None:
            left = self.keep(it.Keep(command.owner, digest))
            # Who is told of it next, a web service perhaps, shall find it as a rule.
            with trio.move_on_after(THERE):
                await self._boxes.sent(left)
        self._tell(it.Recorded(command.serial, digest, recorded.seconds))

    def stop(self) -> None:
        """The recording ends here."""
        if self._recording is not None:
            self._recording.stop()

    def keep(self, command: it.Keep) -> Left:
        """It is a message; waits for nothing, so that it may be the last thing that a call does."""
        ticket = self._ticket
        caller = "" if ticket.anonymous else ticket.extension or ticket.caller
        left = Left(
            id=uuid.uuid4().hex,
            tenant=ticket.tenant,
            owner=command.owner,
            left_at=time.time(),
            caller=caller[:128],
            name="" if ticket.anonymous else ticket.name[:128],
            call=self._call_id,
            called=ticket.target,
        )
        if command.digest:
            try:
                self._boxes.keep(left, command.digest)
            except OSError as error:
                log.warning("a message for %s is lost: %s", command.owner, error)
        elif self._recording is not None:
            self._boxes.keep_when_over(left, self._recording)
        return left

    async def ask(self, command: it.OfBoxes) -> None:
        """What a box is asked, or told."""
        boxes, tenant = self._boxes, self._ticket.tenant
        match command:
            case it.OpenBox(serial, owner):
                self._tell(await boxes.open(serial, tenant, owner))
            case it.Unlock(serial, owner, pin):
                self._tell(await boxes.unlock(serial, tenant, owner, pin))
            case it.Mark(owner, message, state):
                await boxes.mark(tenant, owner, message, state)
            case it.SetPin(serial, owner, pin):
                self._tell(await boxes.set_pin(serial, tenant, owner, pin))
            case it.SetGreeting(serial, owner, name):
                self._tell(await boxes.set_greeting(serial, tenant, owner, name))
            case it.Keep():
                self.keep(command)
