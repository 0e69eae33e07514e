"""The agent's shell: watches registry, store and Kamailio, and carries what the others decide."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import trio

from services.call_manager import admin, control, health
from services.call_manager.alerts import AlertsPart, Post
from services.call_manager.apps import ROLES as APP_ROLES
from services.call_manager.apps import AppServers
from services.call_manager.assembly import assemble
from services.call_manager.balancer import Fleet
from services.call_manager.call_log import CallLog
from services.call_manager.continuity import Continuity, vip_is_here
from services.call_manager.deregistration import Deregistration
from services.call_manager.lost_media import Outages
from services.call_manager.media import Media
from services.call_manager.media_watch import MediaWatch
from services.call_manager.parts import Parts
from services.call_manager.prompts import RecordedPrompts
from services.call_manager.reanchor import Reanchor
from services.call_manager.routing.launch import host
from services.call_manager.rpc import Rpc, RpcError, open_rpc
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import Kamailio, State
from services.call_manager.supervision import Supervisor
from services.call_manager.tables import TablesReader, TablesWriter
from services.call_manager.tables_repair import being_made_anew, repair, watch
from services.call_manager.trunk_agent import Trunks
from services.call_manager.user_copy import UserCopy
from services.call_manager.vip import Vip
from services.call_manager.voicemail.mails import VoicemailMails
from services.call_manager.voicemail.waiting import Waiting
from services.core import garbage
from services.core.admin import Health, serve
from services.core.configuration import ENABLED, Switch, decode, encode, prefix
from services.core.discovery import Check, Registration, Registry, RegistryError, Service
from services.core.seal import Seal
from services.core.store import Database, StoreError, migrate

log = logging.getLogger(__name__)

ROLE = "call-manager"
TTL = 10.0
"""Seconds of the agent's silence until the registry takes the server for dead."""
CHECK_EVERY = 1.0
REPORT_EVERY = 2.0
LOOK_EVERY = 0.2
"""Seconds until a problem that comes or goes is told to the registry."""
STATISTICS_EVERY = 2.0
LEAVE_WITHIN = 2.0


class Agent:
    """One Call Manager's agent; `run` returns when it is told to stop.

    Raises SettingsError and StoreError for what it cannot begin with.
    """

    def __init__(self, settings: CallManagerSettings) -> None:
        self.settings = settings
        self.state = State()
        self.supervisor = Supervisor()
        self.database = Database(settings.database_url, settings.database_password())
        self.own = self.database
        if settings.own_database_url != settings.database_url:
            self.own = Database(settings.own_database_url)
        repair(settings.tables_dir)
        self.tables = TablesWriter(settings.tables_dir)
        self._damaged = not self.tables.complete and being_made_anew(settings.tables_dir)
        self.users = UserCopy(self.database, self.tables)
        self.calls = CallLog(
            settings.spool_dir, settings.data_dir / "calls.json", self.database, settings.server
        )
        self.vip = Vip(
            settings,
            eligible=lambda: self.state.own_switch.state == "enabled",
            changed=self._vip_changed,
            lost=self._servers_lost,
        )
        self._fleet = Fleet(settings.cluster)
        self._apps = AppServers(settings.cluster, self.state, self.tables)
        self._media: Media | None = None
        self._calls_over: Continuity | None = None
        self._token = settings.admin_token()
        self._key = settings.cluster_key()
        self._reporting = trio.Lock()
        self._leaving = False

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch and serve until SIGTERM or SIGINT. Raises OSError for an address it cannot have."""
        s = self.settings
        stop = trio.Event()
        async with (
            Registry(s.registry, s.registry_token()) as registry,
            open_rpc(s.kamailio_rpc) as rpc,
            trio.open_nursery() as nursery,
        ):
            fleet = self._fleet
            media = self._media = Media(fleet, self.state, self.tables, self.own, rpc)
            trunks = Trunks(s, self.state, self.tables, self.database, rpc)
            self._restore(fleet, trunks)
            leaving = Deregistration(rpc, TablesReader(s.tables_dir))
            self.users.tell(leaving.add)
            post = Post(self.state, self.database, Seal(self._key))
            alerts = AlertsPart(s, self.state, self.calls, self.vip, registry, post)
            prompts = RecordedPrompts(registry, s.cluster)
            parts = Parts(
                settings=s,
                state=self.state,
                database=self.database,
                own=self.own,
                seal=Seal(self._key),
                token=self._token,
                rpc=rpc,
                calls=self.calls,
                users=self.users,
                trunks=trunks,
                vip=self.vip,
                alerts=alerts,
                prompts=prompts,
                drain=partial(self._drain, registry),
                health=self.health,
            )
            url = await nursery.start(
                partial(serve, stop=stop), admin.application(parts), s.address, s.admin_port
            )
            watchers = self._watchers(registry, rpc, media, trunks)
            waiting = Waiting(s, self.state, self.database, self.vip, rpc)
            messages = VoicemailMails(self.state, self.database, self.vip, post, prompts)
            for name, work in (
                ("voicemail mails", messages.run),
                ("message waiting", waiting.run),
                ("alerts", alerts.watch),
                ("mails", alerts.send),
                ("mail server", post.keep_password),
            ):
                watchers[name] = partial(work, partial(self.supervisor.well, name))
            watchers["phones' questions"] = waiting.listen
            watchers["bindings"] = partial(
                leaving.follow, partial(self.supervisor.well, "bindings")
            )
            outages = Outages()
            reanchor = Reanchor(s, fleet, self.state, self.calls, rpc, outages)
            watchers["media led anew"] = partial(
                reanchor.run, partial(self.supervisor.well, "media led anew")
            )
            media_watch = MediaWatch(
                s, fleet, self.state, self.calls, rpc, outages, reanchor.under_way
            )
            watchers["media of calls"] = partial(
                media_watch.run, partial(self.supervisor.well, "media of calls")
            )
            if s.managers:
                watchers["vip"] = self.vip.run
            if s.peers:
                watchers |= self._continuity(rpc, trunks)
            for name, watcher in watchers.items():
                nursery.start_soon(self.supervisor.run, name, watcher)
            nursery.start_soon(watch, s.tables_dir)
            nursery.start_soon(garbage.collect, lambda: len(self.calls.view.up))
            task_status.started(url)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for received in signals:
                    log.info("stopping on %s", signal.Signals(received).name)
                    break
            stop.set()
            with trio.move_on_after(LEAVE_WITHIN):
                await self._leave(registry)
            nursery.cancel_scope.cancel()
        self.tables.close()
        self.database.close()
        self.own.close()

    def health(self, *, without: str = "") -> Health:
        """What ``/health`` and the registry's check say; ``without`` names who is not heard."""
        state = self.state
        told = state.told(trio.current_time())
        told.pop(without, None)
        found = [
            *told.values(),
            *self.supervisor.problems.values(),
            self.users.problem,
            self.calls.problem,
            self.vip.problem,
            self._anew(),
        ]
        # Several watchers may meet one and the same fault.
        problems = list(dict.fromkeys(found))
        switch = state.own_switch.state
        notes = [] if switch == "enabled" else [f"{switch} by an administrator"]
        since = self.vip.since
        if since is not None:
            notes.append(f"VIP since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))}")
        return health.judge(state.checks, problems, trio.current_time(), note=", ".join(notes))

    def _vip_changed(self) -> None:
        """The VIP has come or gone."""
        log.info("the VIP is %s", "here" if self.vip.held else "not here")
        if self._calls_over is not None:
            (self._calls_over.look if self.vip.held else self._calls_over.lose)()

    def _servers_lost(self, down: frozenset[tuple[str, str]]) -> None:
        """What a majority of managers cannot reach has changed."""
        self._fleet.see_lost(server for role, server in down if role == "media")
        if self._media is not None:
            self._media.now()
        self._apps.see_lost(down)

    def _anew(self) -> str:
        if (self.state.in_force and not self.users.problem) or not self._damaged:
            self._damaged = False
            return ""
        return "the tables were damaged and are being made anew"

    def _watchers(
        self, registry: Registry, rpc: Rpc, media: Media, trunks: Trunks
    ) -> dict[str, Callable[[], Awaitable[None]]]:
        def well(name: str) -> Callable[[], None]:
            return partial(self.supervisor.well, name)

        return {
            "configuration": partial(self._follow_configuration, registry, trunks),
            "switches": partial(self._follow_switches, registry, media),
            "media servers": partial(media.follow, registry, well("media servers")),
            "media addresses": partial(
                media.follow_holders, registry, self.settings.cluster, well("media addresses")
            ),
            "media table": partial(media.keep, well("media table")),
            **{
                f"{role} servers": partial(
                    self._apps.follow, registry, role, well(f"{role} servers")
                )
                for role in APP_ROLES
            },
            "application servers": partial(self._apps.keep, well("application servers")),
            "users": self._follow_users,
            "calls": self._follow_calls,
            "call records": self._store_calls,
            "trunk addresses": partial(trunks.resolve, well("trunk addresses")),
            "trunk registrations": partial(trunks.register, well("trunk registrations")),
            "trunk probes": trunks.probe,
            "SIP check": self._check_sip,
            "database check": self._check_database,
            "statistics": partial(self._statistics, rpc),
            "registry": partial(self._report_forever, registry),
        }

    def _continuity(self, rpc: Rpc, trunks: Trunks) -> dict[str, Callable[[], Awaitable[None]]]:
        """What is to be done only where there are other Call Managers."""
        s, well = self.settings, self.supervisor.well
        continuity = self._calls_over = Continuity(
            s, self.calls, rpc, self.state, vip_is_here(s.vip), trunks.register_anew
        )
        return {
            "calls of others": continuity.follow_others,
            "calls over a take-over": partial(
                continuity.run, partial(well, "calls over a take-over")
            ),
            "Kamailio's events": continuity.listen,
            "ended calls": partial(self.calls.reconcile, partial(well, "ended calls")),
        }

    def _restore(self, fleet: Fleet, trunks: Trunks) -> None:
        """Begin with the last picture, which Kamailio routes by already."""
        last = TablesReader(self.settings.tables_dir)
        last.refresh()
        fleet.restore(last.media.values(), trio.current_time())
        self.state.media = tuple(last.media.values())
        self._apps.restore(tuple(last.apps.values()))
        trunks.use(tuple(last.trunks.values()))

    async def _follow_configuration(self, registry: Registry, trunks: Trunks) -> None:
        root = f"{prefix(self.settings.cluster)}config/"
        told: tuple[str, ...] = ()
        async for values in registry.watch(root):
            found = assemble({key.removeprefix(root): raw for key, raw in values.items()})
            state = self.state
            state.assembled = found
            # Documents come before the manifest that names them: for a moment they do not fit.
            coming = found.manifest is not None
            state.tell(
                "configuration",
                "; ".join(found.problems),
                since=trio.current_time() if coming else None,
            )
            if found.picture is None or found.manifest is None:
                if found.problems != told:
                    log.warning("the configuration stays as it was: %s", "; ".join(found.problems))
                told = found.problems
                continue
            told = ()
            if found.manifest_digest != state.in_force:
                await trio.to_thread.run_sync(self.tables.write, found.picture)
                state.picture = found.picture
                state.in_force = found.manifest_digest
                state.spec_hash = found.manifest.spec_hash
                state.release = found.manifest.release
                state.generation += 1
                trunks.use(found.picture.trunks)
                log.info("configuration %s is in force", found.manifest.spec_hash[:12])
            self.supervisor.well("configuration")

    async def _follow_switches(self, registry: Registry, media: Media) -> None:
        root = f"{prefix(self.settings.cluster)}switches/"
        async for values in registry.watch(root):
            found: dict[str, Switch] = {}
            switched: dict[tuple[str, str], Switch] = {}
            self.state.own_switch = ENABLED
            for key, raw in values.items():
                server, _, role = key.removeprefix(root).partition("/")
                try:
                    switch = decode(raw, Switch)
                except msgspec.DecodeError as error:
                    log.warning("%s cannot be read and counts as enabled: %s", key, error)
                    continue
                switched[role, server] = switch
                if role == "media":
                    found[server] = switch
                elif role == ROLE and server == self.settings.server:
                    self.state.own_switch = switch
            self.state.switches, self.state.switched = found, switched
            media.now()
            self._apps.now()
            self.supervisor.well("switches")

    async def _follow_users(self) -> None:
        await self.users.follow(partial(self.supervisor.well, "users"))

    async def _follow_calls(self) -> None:
        await self.calls.follow(partial(self.supervisor.well, "calls"))

    async def _store_calls(self) -> None:
        await self.calls.store(partial(self.supervisor.well, "call records"))

    async def _check_sip(self) -> None:
        while True:
            began = trio.current_time()
            await health.check_sip(self.settings, self.state.checks)
            self.supervisor.well("SIP check")
            await trio.sleep_until(began + CHECK_EVERY)

    async def _check_database(self) -> None:
        # `prepare` goes on without a database that is away; when it is back, it is made to fit.
        ready = self.own is self.database
        while True:
            if not ready:
                with suppress(StoreError):
                    await trio.to_thread.run_sync(migrate, self.database, abandon_on_cancel=True)
                    ready = True
            await health.check_database(self.database, self.state.checks)
            self.supervisor.well("database check")
            await trio.sleep(CHECK_EVERY)

    async def _statistics(self, rpc: Rpc) -> None:
        while True:
            try:
                self.state.kamailio = await control.statistics(rpc)
                self.state.loads, self.state.app_loads = await control.loads(rpc)
                if self.state.own_switch.state != "enabled":
                    # New calls are refused with 503, as in an overload; what runs goes on.
                    await rpc("htable.setxs", "overload", "shed", "100", 5)
            except RpcError as error:
                self.state.kamailio = Kamailio()
                self.state.tell("kamailio", str(error))
            else:
                self.state.tell("kamailio", "")
            self.supervisor.well("statistics")
            await trio.sleep(STATISTICS_EVERY)

    async def _report_forever(self, registry: Registry) -> None:
        registration = Registration()
        # A report registers a service that the registry has forgotten: none may follow its leave.
        while not self._leaving:
            # Heard by the registry, it is no problem any more that it was away.
            found = self.health(without="registry")
            try:
                async with self._reporting:
                    if self._leaving:
                        return
                    current = service(self.settings, held=self.vip.held)
                    await registration.keep(registry, current)
                    output = "; ".join([found.output, *found.problems])
                    await registry.report(current.id, found.status, output[:2000])
            except RegistryError as error:
                self.state.tell("registry", str(error))
            else:
                self.state.tell("registry", "")
                self.supervisor.well("registry")
            with trio.move_on_after(REPORT_EVERY):
                await self._changed(found)

    async def _changed(self, told: Health) -> None:
        """Until there is something else to report than what was told."""
        held = self.vip.held
        while True:
            now = self.health(without="registry")
            if (now.status, now.problems) != (told.status, told.problems):
                return
            if self.vip.held != held:
                return
            await trio.sleep(LOOK_EVERY)

    async def _drain(self, registry: Registry) -> None:
        """Write the switch, as an administrator would: it outlives this process."""
        switch = Switch(
            state="draining", reason="asked of the server itself", by="admin API", since=time.time()
        )
        key = f"{prefix(self.settings.cluster)}switches/{self.settings.server}/{ROLE}"
        await registry.put(key, encode(switch))
        self.state.own_switch = switch

    async def _leave(self, registry: Registry) -> None:
        self._leaving = True
        try:
            async with self._reporting:
                await registry.deregister(service(self.settings, held=False).id)
        except RegistryError as error:
            log.warning("left without telling the registry: %s", error)
        await self.calls.save()


def service(settings: CallManagerSettings, *, held: bool) -> Service:
    """How this Call Manager registers itself; its check is fed by `Agent.health`.

    ``held``: the VIP is here, which tags it ``active``.
    """
    s = settings
    probe = {"probe": f"{host(s.address)}:{s.probe_port}"} if s.managers else {}
    return Service(
        id=f"{s.cluster}-{ROLE}-{s.server}",
        name=ROLE,
        address=s.address,
        port=s.admin_port,
        tags=(
            s.cluster,
            f"release-{s.release}",
            f"capacity-{s.capacity}",
            "active" if held else "standby",
        ),
        meta=probe
        | {
            "cluster": s.cluster,
            "server": s.server,
            "release": s.release,
            "capacity": str(s.capacity),
            "admin": f"http://{host(s.address)}:{s.admin_port}",
            "vip": s.vip,
            "sip_port": str(s.sip_port),
            "tls_port": str(s.tls_port),
        },
        checks=(Check(ttl=TTL, name="SIP OPTIONS"),),
    )
