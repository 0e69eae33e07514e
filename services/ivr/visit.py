"""What a call records, and what it does in voicemail boxes."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

import trio

from services.core.audio import AudioPlane, Clip, Leg, Recording
from services.core.passport import Passport
from services.ivr import call as it
from services.ivr.boxes import LEAST, Boxes, Left
from services.ivr.cluster import CallManagers

log = logging.getLogger(__name__)


class Visit:
    """One call's. ``tell`` takes what has happened."""

    def __init__(
        self,
        boxes: Boxes,
        managers: CallManagers,
        plane: AudioPlane,
        leg: Leg,
        ticket: Passport,
        tell: Callable[[it.Event], None],
    ) -> None:
        self._boxes = boxes
        self._managers = managers
        self._plane = plane
        self._leg = leg
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

    async def record(self, command: it.Record, *, boxed: bool) -> None:
        """A tone, then what the caller says. ``boxed``: for a box, so it stays here for now."""
        await self._leg.play([self._plane.beep()])
        path = self._boxes.path()
        self._recording = recording = self._leg.record(
            path, limit=command.most, silence=command.silence
        )
        recorded = await recording
        self._recording = None
        spoken = recorded.seconds - (command.silence if recorded.ended == "silence" else 0)
        name = path.stem if spoken >= LEAST and recorded.ended != "failed" else ""
        if name and not boxed:
            name = await self._to_store(path.stem)
        self._tell(it.Recorded(command.serial, name, recorded.seconds))

    async def _to_store(self, name: str) -> str:
        path = trio.Path(self._boxes.path(name))
        try:
            digest = await self._managers.keep_sound(await path.read_bytes(), self._ticket.tenant)
            await path.unlink()
        except (LookupError, OSError) as error:
            log.warning("a recording is not in the store: %s", error)
            return ""
        return digest

    def stop(self) -> None:
        """The recording ends here."""
        if self._recording is not None:
            self._recording.stop()

    def keep(self, command: it.Keep) -> None:
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
        )
        if command.digest:
            try:
                self._boxes.keep(left, command.digest)
            except OSError as error:
                log.warning("a message for %s is lost: %s", command.owner, error)
        elif self._recording is not None:
            self._boxes.keep_when_over(left, self._recording)

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
