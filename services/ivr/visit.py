"""What a call records, and what it does in voicemail boxes."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable

import trio

from services.core.audio import AudioPlane, Clip
from services.core.passport import Passport
from services.ivr import call as it
from services.ivr.boxes import LEAST, WAV_SECOND, Boxes, Left
from services.ivr.ears import Ears
from services.ivr.tapes import Take, Tapes, save

log = logging.getLogger(__name__)

SHORTEST = 0.1
"""Seconds: what is left of a recording's time where another server has used it up."""
LEAVING = 1.5
"""Seconds for the last of a recording to be on disk, where another server goes on with it."""
THERE = 2.0
"""Seconds that a caller waits for his recording to be in the store; it gets there in any case."""


class Visit:
    """One call's. ``tell`` takes what has happened."""

    def __init__(
        self,
        boxes: Boxes,
        tapes: Tapes,
        plane: AudioPlane,
        ears: Ears,
        ticket: Passport,
        tell: Callable[[it.Event], None],
    ) -> None:
        self._boxes = boxes
        self._tapes = tapes
        self._plane = plane
        self._leg = ears.leg
        self._call_id = ears.call.call_id
        self._ticket = ticket
        self._tell = tell
        self._take: Take | None = None
        self._before = b""
        self._said = ""
        self.leaving = False
        """Whether another server is about to go on with the call."""
        self.tape = ""
        """The name of what was recorded last, or is being recorded, in live state."""

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

    async def restore(self, tape: str, digest: str) -> None:
        """Have what another server has recorded of this call.

        It goes on being recorded; or, if that was over and its ``digest`` is known, it is a file.
        """
        self.tape = tape
        sound = await self._tapes.find(tape)
        if not digest:
            self._before = sound
        elif sound:
            await trio.to_thread.run_sync(save, self._boxes.path(digest), sound)

    async def record(self, command: it.Record) -> None:
        """A tone, then what the caller says; none where he is in the midst of it."""
        before, self._before, self._said = self._before, b"", ""
        if not command.more:
            before = b""
        if not before:
            self.forget()
            self.tape = f"{self._call_id}:{command.serial}"
            await self._leg.play([self._plane.beep()])
        path = self._boxes.path()
        most = max(command.most - len(before) / WAV_SECOND, SHORTEST)
        recording = self._leg.record(path, limit=most, silence=command.silence)
        self._take = take = Take(self._tapes, self.tape, recording, before)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take.follow)
            try:
                recorded = await take
            finally:
                if self.leaving:
                    with trio.move_on_after(LEAVING, shield=True):
                        take.stop()
                        await take
            nursery.cancel_scope.cancel()
        self._take = None
        spoken = recorded.seconds - (command.silence if recorded.ended == "silence" else 0)
        digest = ""
        if spoken >= LEAST and recorded.ended != "failed":
            try:
                digest = await trio.to_thread.run_sync(self._boxes.settle, path.stem)
                self._said = digest
            except OSError as error:
                log.warning("a recording is lost: %s", error)
        if digest and command.owner is not None:
            left = self.keep(it.Keep(command.owner, digest))
            self._said = ""
            # Who is told of it next, a web service perhaps, shall find it as a rule.
            with trio.move_on_after(THERE):
                await self._boxes.sent(left)
        self._tell(it.Recorded(command.serial, digest, recorded.seconds))

    def stop(self) -> None:
        """The recording ends here."""
        if self._take is not None:
            self._take.stop()

    def forget(self) -> None:
        """What was recorded is needed by nobody who would go on with the call."""
        if self.tape:
            self._tapes.erase(self.tape)

    def keep(self, command: it.Keep) -> Left:
        """It is a message; waits for nothing, so that it may be the last thing that a call does."""
        ticket = self._ticket
        caller = "" if ticket.anonymous else ticket.extension or ticket.caller
        left = Left(
            id=self._id(),
            tenant=ticket.tenant,
            owner=command.owner,
            left_at=time.time(),
            caller=caller[:128],
            name="" if ticket.anonymous else ticket.name[:128],
            call=self._call_id,
            called=ticket.target,
        )
        name = command.digest or self._said
        try:
            if name:
                self._boxes.keep(left, name)
            elif self._take is not None:
                self._boxes.keep_when_over(left, self._take)
            elif len(self._before) >= LEAST * WAV_SECOND:
                save(self._boxes.path(left.id), self._before)
                self._boxes.keep(left, left.id)
        except OSError as error:
            log.warning("a message for %s is lost: %s", command.owner, error)
        return left

    def _id(self) -> str:
        """Of one recording the same at every server, so that a message is there once."""
        if not self.tape:
            return uuid.uuid4().hex
        return hashlib.blake2s(self.tape.encode(), digest_size=16).hexdigest()

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
            case it.SetPrompt(serial, name, digest):
                by = self._ticket.extension
                self._tell(await boxes.set_prompt(serial, tenant, name, digest, by))
            case it.Keep():
                self.keep(command)
