"""The agent's shell: has this host's Redis follow the VIP, checks it, and reports."""

from __future__ import annotations

import logging
import signal
import time
from functools import partial

import msgspec
import trio

from services.core import garbage
from services.core.admin import Application, Gauges, Health, create_app, serve
from services.core.configuration import ENABLED, Switch, decode, encode, prefix
from services.core.discovery import Registration, Registry, RegistryError
from services.core.failover import Responder, member_of
from services.core.vip import holder_of, vip_key
from services.live import status
from services.live.client import ERRORS, Live, open_live
from services.live.following import Promote, command
from services.live.redis import password
from services.live.settings import LiveSettings
from services.live.status import Position, State

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
AGAIN = 0.2
REPORT_EVERY = 2.0
LEAVE_WITHIN = 3.0
SAVE_AGAIN = 60.0
"""Seconds after which the append-only file is tried again."""


class Agent:
    """One live-state server's agent; `run` returns when it is told to stop.

    Raises SettingsError for a secret that is not there.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self.settings = settings
        self.state = State(expected=len(settings.hosts) - 1)
        self.gauges = Gauges()
        self._password = password(settings)
        self._token = settings.admin_token()
        self._wake = trio.Event()
        self._reporting = trio.CancelScope()
        self._save_at = float("inf")
        if not settings.managers:
            self.state.holder = settings.server

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow, check, report, until SIGTERM or SIGINT. Raises OSError for a wrong address."""
        s = self.settings
        member = member_of(s, status.ROLE, port=s.probe_port, managers=s.managers)
        responder = Responder(member, self._well)
        async with (
            Registry(s.registry, s.registry_token()) as registry,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(serve, self._application(registry), s.address, s.admin_port)
            await nursery.start(responder.run)
            nursery.start_soon(self._follow_vip, registry)
            nursery.start_soon(self._follow_switch, registry)
            nursery.start_soon(self._keep)
            nursery.start_soon(garbage.collect)
            nursery.start_soon(partial(self._report, registry, responder.probe))
            task_status.started()
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for received in signals:
                    log.info("stopping on %s", signal.Signals(received).name)
                    break
            with trio.move_on_after(LEAVE_WITHIN):
                await self._leave(registry)
            nursery.cancel_scope.cancel()

    def _application(self, registry: Registry) -> Application:
        async def drain() -> None:
            await self._drain(registry)

        return create_app(
            title="Live state",
            version=self.settings.release,
            token=self._token,
            health=self._health,
            metrics=self.gauges.registry,
            drain=drain,
        )

    def _health(self) -> Health:
        now = trio.current_time()
        self.gauges.update(status.metrics(self.state, now))
        return status.health(self.state, now)

    def _well(self) -> bool:
        return status.health(self.state, trio.current_time()).status != "critical"

    async def _follow_vip(self, registry: Registry) -> None:
        key = vip_key(self.settings.cluster)
        async for values in registry.watch(key):
            holder = holder_of(values.get(key, b""))
            # Nobody has it: who had it last keeps the data until somebody has.
            if holder and holder != self.state.holder:
                log.info("the VIP is on %s", holder)
                self.state.holder = holder
                self._wake.set()

    async def _keep(self) -> None:
        """Make Redis what it should be and see that it does its job, for ever."""
        async with open_live(self.settings, self._password) as live:
            while True:
                wake = self._wake = trio.Event()
                pause = LOOK_EVERY
                try:
                    await self._look(live)
                except* ERRORS as group:
                    self._failed(group)
                    pause = AGAIN
                with trio.move_on_after(pause):
                    await wake.wait()

    async def _look(self, live: Live) -> None:
        """Its role first, which may not wait; then whether it works."""
        state = self.state
        seen = await live.seen()
        wanted = command(self.settings.server, state.holder, self.settings.hosts, seen)
        if wanted is not None:
            await live.obey(wanted)
            if isinstance(wanted, Promote):
                state.promoted += 1
                log.info("Redis is primary now")
            else:
                log.info("Redis follows %s now", wanted.address)
            seen = await live.seen()
        state.seen = seen
        figures = await live.figures()
        state.memory, state.clients = figures.memory, figures.clients
        await self._keep_saving(live, saving=figures.saving, saved=figures.saved)
        began = trio.current_time()
        if seen.primary:
            await live.check()
            state.took = trio.current_time() - began
        elif not seen.link:
            state.failure = f"replica of {state.holder or seen.follows}, which does not answer"
            return
        state.checked, state.failure = trio.current_time(), ""
        self.gauges.update(status.metrics(state, trio.current_time()))

    async def _keep_saving(self, live: Live, *, saving: bool, saved: bool) -> None:
        """A disk that is full must not stop calls: Redis refuses writes that it cannot save."""
        now = trio.current_time()
        if saving and not saved:
            await live.save(False)
            self._save_at = now + SAVE_AGAIN
            self.state.unsaved = "the append-only file cannot be written (is the disk full?)"
            log.warning("%s; going on without it", self.state.unsaved)
        elif not saving and now >= self._save_at:
            await live.save(True)
        elif not saving:
            # An earlier life of this agent may have turned it off.
            self._save_at = min(self._save_at, now + SAVE_AGAIN)
        elif saving:
            self.state.unsaved = ""

    def _failed(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        found = f"Redis: {error or type(error).__name__}"
        if found != self.state.failure:
            log.warning("%s", found)
        self.state.failure = found

    async def _follow_switch(self, registry: Registry) -> None:
        async for values in registry.watch(self._switch_key):
            raw = values.get(self._switch_key)
            try:
                self.state.switch = ENABLED if raw is None else decode(raw, Switch)
            except msgspec.DecodeError as error:
                log.warning("%s cannot be read and is not heeded: %s", self._switch_key, error)

    @property
    def _switch_key(self) -> str:
        return f"{prefix(self.settings.cluster)}switches/{self.settings.server}/{status.ROLE}"

    async def _drain(self, registry: Registry) -> None:
        """For people to see: the VIP says where the primary is, and Call Managers move that."""
        switch = Switch(
            state="draining", reason="asked of the server itself", by="admin API", since=time.time()
        )
        await registry.put(self._switch_key, encode(switch))
        self.state.switch = switch

    async def _report(self, registry: Registry, probe: str) -> None:
        with self._reporting:
            await self._report_forever(registry, probe)

    async def _report_forever(self, registry: Registry, probe: str) -> None:
        registration = Registration()
        registered: Position | None = None
        told: tuple[Health | None, float] = (None, 0.0)
        while True:
            now = trio.current_time()
            found, position = status.health(self.state, now), status.position(self.state)
            before, when = told
            same = before is not None and (found.status, found.problems, position) == (
                before.status,
                before.problems,
                registered,
            )
            if not same or now >= when + REPORT_EVERY:
                service = status.service(self.settings, position, probe)
                try:
                    await registration.keep(registry, service)
                    registered = position
                    output = "; ".join([found.output, *found.problems])
                    await registry.report(service.id, found.status, output[:2000])
                    told = (found, now)
                except RegistryError as error:
                    log.warning("%s", error)
                    await trio.sleep(REPORT_EVERY)
            await trio.sleep(0.1)

    async def _leave(self, registry: Registry) -> None:
        # First: a report of a service that has gone would register it again.
        self._reporting.cancel()
        try:
            await registry.deregister(status.service(self.settings, "", "").id)
        except RegistryError as error:
            log.warning("left without telling the registry: %s", error)
