"""The agent's shell: looks at PostgreSQL, Patroni and Consul, and does what the pure parts say."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import psycopg
import trio

from services.core import garbage
from services.core.admin import Application, Gauges, Health, create_app, serve
from services.core.configuration import ENABLED, Switch, decode, encode, prefix
from services.core.discovery import Registration, Registry, RegistryError
from services.core.failover import Responder, member_of
from services.core.vip import holder_of, vip_key
from services.database import patroni, postmaster, status
from services.database.fencing import Fencing, Look
from services.database.placement import Placement, promises
from services.database.postgres import Postgres
from services.database.rest import Patroni, PatroniError
from services.database.settings import DatabaseSettings
from services.database.status import Position, State

log = logging.getLogger(__name__)
T = TypeVar("T")

CHECK_EVERY = 1.0
ASK = 4.0
"""Seconds that PostgreSQL has for one look: a connection and a query."""
REPORT_EVERY = 2.0
LEAVE_WITHIN = 3.0


class Agent:
    """One database server's agent; `run` returns when it is told to stop.

    Raises SettingsError for a secret that is not there.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.state = State(expected=len(settings.hosts) - 1)
        self.fencing = Fencing()
        self.placement = Placement()
        self.gauges = Gauges()
        patroni.secrets(settings)
        self._password = settings.secret("database_password")
        self._token = settings.admin_token()
        self._reader = Postgres(settings)
        self._writer = Postgres(settings)
        self._answered = 0.0
        self._vip = ""
        self._provisioned = False
        self._reporting = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check, report, serve, until SIGTERM or SIGINT. Raises OSError for a wrong address."""
        s = self.settings
        member = member_of(s, status.ROLE, port=s.probe_port, managers=s.managers)
        responder = Responder(member, self._well)
        self._answered = trio.current_time()
        async with (
            Registry(s.registry, s.registry_token()) as registry,
            trio.open_nursery() as nursery,
        ):
            rest = Patroni(s)
            app = self._application(registry, rest)
            await nursery.start(serve, app, s.address, s.admin_port)
            await nursery.start(responder.run)
            for task in (
                garbage.collect,
                partial(self._look_forever),
                partial(self._write_forever),
                partial(self._watch_patroni, registry, rest),
                partial(self._follow_leader, registry),
                partial(self._follow_vip, registry),
                partial(self._follow_switch, registry),
                partial(self._place_forever, rest),
                partial(self._report, registry, responder.probe),
            ):
                nursery.start_soon(task)
            task_status.started()
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for received in signals:
                    log.info("stopping on %s", signal.Signals(received).name)
                    break
            with trio.move_on_after(LEAVE_WITHIN):
                await self._leave(registry)
                await rest.aclose()
            nursery.cancel_scope.cancel()

    def _application(self, registry: Registry, rest: Patroni) -> Application:
        async def drain() -> None:
            await self._drain(registry, rest)

        return create_app(
            title="Database",
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

    @property
    def _position(self) -> Position:
        return status.position(self.state, trio.current_time())

    async def _look_forever(self) -> None:
        """What PostgreSQL says; on a new primary, make first what clients need."""
        while True:
            began = trio.current_time()
            found = await self._ask(self._reader, self._reader.look)
            if found is not None:
                before = self._position
                self.state.found, self.state.looked = found, trio.current_time()
                now = self._position
                if before != now:
                    log.info("PostgreSQL is %s now", now)
                    self._provisioned = False
                if found.primary and not self._provisioned:
                    await self._provision()
            self.gauges.update(status.metrics(self.state, trio.current_time()))
            await trio.sleep_until(began + CHECK_EVERY)

    async def _provision(self) -> None:
        work = partial(self._reader.provision, self._password)
        made = await self._ask(self._reader, work, within=30.0)
        if made is not None:
            self._provisioned = True
            for what in made:
                log.info("made %s", what)

    async def _write_forever(self) -> None:
        """Write, while this is the primary; apart from looking, for a write may have to wait."""
        while True:
            began = trio.current_time()
            if self._position == "primary" and self._provisioned:
                done = await self._ask(self._writer, self._writer_writes, within=30.0)
                self.state.unwritten = "" if done is not None else self.state.failure
                if done is not None:
                    self.state.written = trio.current_time()
                    self.state.took = self.state.written - began
            await trio.sleep_until(began + CHECK_EVERY)

    def _writer_writes(self) -> bool:
        self._writer.write()
        return True

    async def _ask(
        self, postgres: Postgres, question: Callable[[], T], *, within: float = ASK
    ) -> T | None:
        """The answer; None, and the reason in the state, if there is none in time."""
        try:
            with trio.fail_after(within):
                answer = await trio.to_thread.run_sync(question, abandon_on_cancel=True)
        except trio.TooSlowError:
            postgres.cut()
            postgres.close()
            self.state.failure = f"PostgreSQL: no answer in {within:g} s"
        except psycopg.Error as error:
            postgres.close()
            if not isinstance(error, psycopg.errors.ConnectionTimeout):
                self._answered = trio.current_time()
            self.state.failure = f"PostgreSQL: {' '.join(str(error).split())}"
        else:
            self.state.failure = ""
            self._answered = trio.current_time()
            return answer
        return None

    async def _watch_patroni(self, registry: Registry, rest: Patroni) -> None:
        """Is it there, what does it know, and must this primary be ended?"""
        while True:
            began = trio.current_time()
            answers = await rest.answers()
            if answers:
                self.state.patroni = ""
                try:
                    self.state.members = await rest.members()
                except PatroniError as error:
                    self.state.patroni = str(error)
            else:
                self.state.patroni = "Patroni does not answer"
            now = trio.current_time()
            look = Look(
                holds=self.state.leader == self.settings.server,
                patroni=answers,
                postgres=now - self._answered < ASK + CHECK_EVERY,
            )
            self.fencing = self.fencing.after(look, now)
            if reason := self.fencing.reason(now):
                await self._fence(registry, reason)
            if answers and self._position == "primary" and self._provisioned:
                await self._configure(rest)
                await self._keep_promises(registry)
            await trio.sleep_until(began + CHECK_EVERY)

    async def _configure(self, rest: Patroni) -> None:
        try:
            changed = await rest.configure(patroni.dynamic(self.settings))
        except PatroniError as error:
            self.state.patroni = str(error)
        else:
            if changed:
                log.info("changed Patroni's configuration: %s", ", ".join(changed))

    async def _keep_promises(self, registry: Registry) -> None:
        """Nobody may take over who is not waited for."""
        found = self.state.found
        if found is None or found.waits:
            return
        key = f"service/{self.settings.cluster}/sync"
        try:
            entry = await registry.get(key)
            wanted = entry and promises(entry.value, self.settings.server, waits=found.waits)
            if entry and wanted and await registry.put(key, wanted, cas=entry.modify_index):
                log.warning("commits waited for no standby: had Patroni choose again")
        except (RegistryError, msgspec.DecodeError) as error:
            log.warning("%s: %s", key, error)

    async def _fence(self, registry: Registry, reason: str) -> None:
        """PostgreSQL first: whoever begins after the session's end must be alone.

        Patroni too: hung, it would never come back, and its engine starts it again.
        """
        killed = await trio.to_thread.run_sync(postmaster.kill, self.settings.postgres_dir)
        program = patroni.program(self.settings)
        await trio.to_thread.run_sync(postmaster.kill_program, program)
        log.warning(
            "%s: %s; others may take over", reason, "killed PostgreSQL" if killed else "it is dead"
        )
        key = f"service/{self.settings.cluster}/leader"
        try:
            entry = await registry.get(key)
            if entry and entry.session and entry.value.decode() == self.settings.server:
                await registry.destroy_session(entry.session)
        except RegistryError as error:
            log.warning("Patroni's session could not be ended: %s", error)
            return
        self.state.fenced += 1
        self.fencing = Fencing()

    async def _follow_leader(self, registry: Registry) -> None:
        key = f"service/{self.settings.cluster}/leader"
        async for values in registry.watch(key):
            leader = values.get(key, b"").decode(errors="replace")
            if leader != self.state.leader:
                log.info("primary is %s", leader or "nobody")
            self.state.leader = leader

    async def _follow_vip(self, registry: Registry) -> None:
        key = vip_key(self.settings.cluster)
        async for values in registry.watch(key):
            self._vip = holder_of(values.get(key, b""))

    async def _follow_switch(self, registry: Registry) -> None:
        async for values in registry.watch(self._switch_key):
            raw = values.get(self._switch_key)
            try:
                self.state.switch = ENABLED if raw is None else decode(raw, Switch)
            except msgspec.DecodeError as error:
                log.warning("%s cannot be read and is not heeded: %s", self._switch_key, error)

    async def _place_forever(self, rest: Patroni) -> None:
        while True:
            now = trio.current_time()
            me = self.settings.server
            # Out of service by an administrator, it must not become the primary.
            vip = self._vip if self.state.switch.state == "enabled" else ""
            self.placement = self.placement.after(vip, self.state.leader, now)
            if self.placement.wants(me, self.state.members, now):
                self.placement = self.placement.asking(now)
                await self._switchover(rest, self.state.leader, me, "the VIP is here")
            await trio.sleep(CHECK_EVERY)

    async def _switchover(self, rest: Patroni, leader: str, candidate: str, why: str) -> None:
        log.info("asking for a switchover from %s to %s: %s", leader, candidate, why)
        self.state.switchovers += 1
        try:
            log.info("%s", await rest.switchover(leader, candidate))
        except PatroniError as error:
            log.warning("%s", error)

    @property
    def _switch_key(self) -> str:
        return f"{prefix(self.settings.cluster)}switches/{self.settings.server}/{status.ROLE}"

    async def _drain(self, registry: Registry, rest: Patroni) -> None:
        """Out of service; if this is the primary, to the best of the others, and no write lost."""
        switch = Switch(
            state="draining", reason="asked of the server itself", by="admin API", since=time.time()
        )
        await registry.put(self._switch_key, encode(switch))
        self.state.switch = switch
        if self._position == "primary":
            others = [m for m in self.state.members.members if m.role == "sync_standby" and m.well]
            if others:
                await self._switchover(rest, self.settings.server, others[0].name, "drained")

    async def _report(self, registry: Registry, probe: str) -> None:
        with self._reporting:
            await self._report_forever(registry, probe)

    async def _report_forever(self, registry: Registry, probe: str) -> None:
        registration = Registration()
        registered: Position | None = None
        told: tuple[Health | None, float] = (None, 0.0)
        while True:
            now = trio.current_time()
            found, position = status.health(self.state, now), self._position
            changed = told[0] is None or (found.status, found.problems, position) != (
                told[0].status,
                told[0].problems,
                registered,
            )
            if changed or now >= told[1] + REPORT_EVERY:
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
