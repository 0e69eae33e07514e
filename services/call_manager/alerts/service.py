"""The shell: looks at the cluster, keeps incidents and mails in the registry, sends the mails."""

from __future__ import annotations

import logging
import secrets as random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
import trio

from services.call_manager.alerts import observations, outbox, wording
from services.call_manager.alerts.incidents import Incident, Incidents, Kept, Observation, Step
from services.call_manager.alerts.outbox import Entry, Mail, Outbox
from services.call_manager.alerts.post import Post
from services.call_manager.call_log import CallLog
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.call_manager.vip import Vip
from services.core.configuration import Document, decode, encode, prefix
from services.core.discovery import Instance, Operation, Registry, RegistryError
from services.core.mail import MailError

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Document)

TICK = 0.5
READ_EVERY = 30.0
"""Seconds after which the registry's picture is read again, whatever is known of it."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What has failed, of late or still, and the mails about it."""

    incidents: tuple[Incident, ...]
    mails: tuple[Mail, ...]


class AlertsPart:
    """`watch` and `send` run for ever; both do something on the VIP's holder only."""

    def __init__(
        self,
        settings: CallManagerSettings,
        state: State,
        calls: CallLog,
        vip: Vip,
        registry: Registry,
        post: Post,
    ) -> None:
        self._settings = settings
        self._state = state
        self._calls = calls
        self._vip = vip
        self._registry = registry
        self._post = post
        self._root = f"{prefix(settings.cluster)}alerts/"
        self._mails = f"{prefix(settings.cluster)}mails/"
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._seen: dict[str, Observation] = {}
        self._incidents = Incidents(trio.current_time())
        self._known: dict[str, Kept] | None = None
        self._outbox = Outbox(f"{settings.server}/{random.token_hex(4)}")
        self._made = trio.Event()

    async def watch(self, well: Callable[[], None]) -> None:
        """See what is well, and write down what is not."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_services, nursery)
            read, problem = 0.0, ""
            while True:
                now = trio.current_time()
                self._look(now)
                if not self._vip.held:
                    self._known = None
                else:
                    try:
                        if self._known is None or now >= read + READ_EVERY:
                            found = await self._read(self._root, Incident)
                            self._known = {one.key: Kept(one, index) for one, index in found}
                            read = now
                        await self._decide()
                        problem = ""
                    except RegistryError as error:
                        self._known = None
                        if not problem:
                            log.warning("alerts: %s", error)
                        problem = str(error)
                well()
                await trio.sleep(TICK)

    def _look(self, now: float) -> None:
        state = self._state
        cluster = self._settings.cluster
        there = [
            instance
            for instances in self._instances.values()
            for instance in instances
            if instance.meta.get("cluster") == cluster
        ]
        self._seen = observations.servers(there, self._vip.down, state.switched)
        if self._vip.held:
            self._seen |= observations.shared(
                state.trunks,
                state.checks.database_problem,
                trunk_patience=float(self._post.configured.trunks_after),
            )
        self._incidents.well_for = float(self._post.configured.well_for)
        self._incidents.see(self._seen, now)

    async def _decide(self) -> None:
        while self._known is not None:
            step = self._incidents.decide(
                self._known, trio.current_time(), time.time(), random.token_hex(12)
            )
            if step is None:
                return
            # What was refused, or not answered, is decided again by what is there then.
            known, self._known = self._known, None
            written = await self._write(step, known)
            if not written:
                return
            self._known = known

    async def _write(self, step: Step, known: dict[str, Kept]) -> bool:
        if step.forget:
            gone = known.pop(step.forget)
            return await self._registry.delete(self._root + step.forget, cas=gone.index)
        operations = [
            Operation(
                verb="cas",
                key=self._root + one.key,
                index=known[one.key].index if one.key in known else 0,
                value=encode(one),
            )
            for one in step.records
        ]
        if step.mail and self._post.configured.email:
            mail = self._mail(step)
            operations.append(
                Operation(verb="cas", key=self._mails + mail.id, index=0, value=encode(mail))
            )
        written = await self._registry.transact(*operations)
        if written is None:
            return False
        for one, entry in zip(step.records, written, strict=False):
            known[one.key] = Kept(one, entry.modify_index)
            _tell(one, step)
        if step.mail:
            self._made.set()
        return True

    def _mail(self, step: Step) -> Mail:
        scene, incidents = self._scene(), step.records
        first = incidents[0].id
        over = step.mail == "over"
        return Mail(
            id=f"{first}-over" if over else first,
            answers=first if over else "",
            subject=wording.subject(incidents, step.mail, scene),
            text=wording.text(incidents, step.mail, scene, time.time()),
            made=time.time(),
        )

    def _scene(self) -> wording.Scene:
        state, vip = self._state, self._vip
        servers: dict[str, list[str]] = {}
        for key, seen in sorted(self._seen.items()):
            kind, _, rest = key.partition("/")
            role, _, server = rest.partition("/")
            if kind == "server" and seen.condition == "well":
                servers.setdefault(role, []).append(server)
        return wording.Scene(
            cluster=self._settings.cluster,
            holder=vip.holder,
            vip=self._settings.vip,
            calls=len(self._calls.view.up),
            servers=servers,
            loads={("media", name): calls for name, calls in state.loads.items()},
            carriers={one.name: one.by for one in state.media if one.by not in ("", one.name)},
        )

    async def send(self, well: Callable[[], None]) -> None:
        """Send what is to be sent."""
        mails: dict[str, Entry] | None = None
        read = 0.0
        while True:
            now = trio.current_time()
            made = self._made.is_set()
            if made:
                self._made = trio.Event()
            if not self._vip.held or not self._post.configured.email:
                mails = None
            else:
                try:
                    if mails is None or made or now >= read + READ_EVERY:
                        found = await self._read(self._mails, Mail)
                        mails = {one.id: Entry(one, index) for one, index in found}
                        read = now
                    if await self._send_one(mails):
                        mails = None
                except RegistryError as error:
                    mails = None
                    log.debug("mails: %s", error)
            well()
            with trio.move_on_after(TICK):
                await self._made.wait()

    async def _send_one(self, mails: Mapping[str, Entry]) -> bool:
        """Whether the picture has changed by it."""
        gone = outbox.old(mails, time.time())
        if gone is not None:
            await self._registry.delete(self._mails + gone.mail.id, cas=gone.index)
            return True
        due = self._outbox.due(mails, trio.current_time())
        if due is None:
            return False
        key = self._mails + due.mail.id
        mail = self._outbox.claimed(due.mail)
        claim = Operation(verb="cas", key=key, index=due.index, value=encode(mail))
        written = await self._registry.transact(claim)
        if not written:
            return True
        found = await self._attempt(mail)
        # It is sent, or not: whatever comes, that must be noted before anything else is done.
        while True:
            note = Operation(
                verb="cas", key=key, index=written[0].modify_index, value=encode(found)
            )
            try:
                await self._registry.transact(note)
            except RegistryError as error:
                log.warning("alerts: that a mail was sent cannot be noted yet: %s", error)
                await trio.sleep(TICK)
            else:
                return True

    async def _attempt(self, mail: Mail) -> Mail:
        recipients = list(self._post.configured.email)
        due = [each for each in recipients if each not in mail.had]
        had: list[str] = []
        try:
            refused = await self._post.deliver(
                due, mail.subject, mail.text, mail.id, answers=mail.answers
            )
        except MailError as error:
            problem = str(error)
        else:
            had = [each for each in due if each not in refused]
            problem = ", ".join(f"{who}: {why}" for who, why in refused.items())
        if problem:
            log.warning("alerts: a mail could not be sent, and is tried again: %s", problem)
        return outbox.after(mail, recipients, had, problem, time.time())

    async def test(self) -> dict[str, str]:
        """Send a test mail now; why not, by recipient that was refused. Raises MailError."""
        alerts = self._post.configured
        if not alerts.email:
            raise MailError("the spec names nobody to mail: alerts.email")
        scene = self._scene()
        text = (
            f"This is a test of the alerts of {scene.cluster}, sent by {self._settings.server}.\n"
            f"Had something failed, it would say what, and what to do.\n\n"
            f"  pbxctl status --cluster {scene.cluster}"
        )
        subject = f"[{scene.cluster}] test of alerts"
        return await self._post.deliver(list(alerts.email), subject, text, random.token_hex(12))

    @property
    def recipients(self) -> list[str]:
        """Who is mailed."""
        return list(self._post.configured.email)

    async def standing(self) -> Standing:
        """Raises RegistryError."""
        incidents = [one for one, _ in await self._read(self._root, Incident)]
        mails = [one for one, _ in await self._read(self._mails, Mail)]
        return Standing(
            incidents=tuple(sorted(incidents, key=lambda one: one.since)),
            mails=tuple(sorted(mails, key=lambda one: one.made)),
        )

    async def _read(self, root: str, kind: type[T]) -> list[tuple[T, int]]:
        """What a quorum of the registry has below ``root``, each with its index."""
        found: list[tuple[T, int]] = []
        for key, entry in (await self._registry.read(root))[0].items():
            try:
                found.append((decode(entry.value, kind), entry.modify_index))
            except msgspec.DecodeError as error:
                log.warning("%s cannot be read and is left alone: %s", key, error)
        return found

    async def _follow_services(self, nursery: trio.Nursery) -> None:
        async for services in self._registry.watch_services():
            for role, tags in services.items():
                if self._settings.cluster in tags and role not in self._instances:
                    self._instances[role] = ()
                    nursery.start_soon(partial(self._follow_role, role))

    async def _follow_role(self, role: str) -> None:
        async for instances in self._registry.watch_health(role):
            self._instances[role] = instances


def _tell(one: Incident, step: Step) -> None:
    """To the log, once each."""
    name = wording.name_of(one.key)
    if step.mail:
        return
    if not one.ended:
        log.warning("%s has failed: %s", name, one.reason)
    elif one.end == "well":
        log.info("%s is well again", name)
    else:
        log.info("%s: closed, %s", name, "left" if one.end == "left" else "out of service by wish")
