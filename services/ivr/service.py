"""The IVR server's shell: takes calls, configuration and switch, and says how it is."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack

import httpx
import trio

from services.core import garbage
from services.core.admin import Application, create_app, serve
from services.core.admin.gauges import Gauges
from services.core.audio import AudioPlane
from services.core.configuration import Switch
from services.core.discovery import Instance, Registry, Status
from services.core.failover import Responder, member_of
from services.core.failover.priority import hurry
from services.core.membership import Membership
from services.core.settings import parse_peers
from services.core.sip import Flow, UserAgent
from services.core.succession.succession import Succession
from services.ivr import status
from services.ivr.admin import leaving
from services.ivr.answering import Answering
from services.ivr.bookkeeping import Bookkeeping
from services.ivr.boxes import Boxes
from services.ivr.cluster import PATIENCE, CallManagers
from services.ivr.continuity import Continuity
from services.ivr.health import Checker, CheckError
from services.ivr.keylog import KeyLog
from services.ivr.library import Library
from services.ivr.server import Server
from services.ivr.settings import AUDIO_PORTS, IvrSettings
from services.ivr.status import State
from services.ivr.tapes import Tapes
from services.ivr.ways import Ways
from services.ivr.web import open_web

log = logging.getLogger(__name__)

LEAVE_WITHIN = 3.0


class Ivr:
    """One IVR server; `run` returns when it is told to stop."""

    def __init__(self, settings: IvrSettings) -> None:
        self.settings = settings
        self._responder: Responder | None = None
        if settings.managers:
            port, managers = settings.probe_port, settings.managers
            member = member_of(settings, status.ROLE, port=port, managers=managers)
            self._responder = Responder(member, well=lambda: self.state.availability.up)
        self.state = State(capacity=settings.capacity)
        self.metrics = Gauges()
        self._key = settings.cluster_key()
        self._token = settings.admin_token()
        self._call_managers: tuple[Instance, ...] = ()
        self._media_servers: tuple[Instance, ...] = ()
        self._continuity: Continuity
        self._trusted = {
            settings.address,
            settings.vip,
            *(peer.address for peer in parse_peers(settings.managers)),
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until SIGTERM or SIGINT. Raises OSError and AudioError for what it cannot have."""
        s = self.settings
        audio = (s.audio_port, s.audio_port + AUDIO_PORTS - 1)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            registry = await enter(Registry(s.registry, s.registry_token()))
            http = await enter(
                httpx.AsyncClient(headers=headers, timeout=PATIENCE, trust_env=False)
            )
            plane = await enter(AudioPlane(s.address, ports=audio, capacity=2 * s.capacity + 10))
            agent = await enter(
                UserAgent(
                    s.address,
                    s.sip_port,
                    manager=Flow("udp", s.vip, s.manager_port),
                    name=s.server,
                    trusted=self._trusted.__contains__,
                )
            )
            checker = await enter(Checker(s.address, s.sip_port, self._key))
            nursery = await enter(trio.open_nursery())
            managers = CallManagers(http, lambda: self._call_managers, self._key)
            web = await enter(open_web(managers.secret))
            library = Library(s.data_dir / "sounds", plane, managers.sound)
            keeping = Bookkeeping(s.cluster, registry, library, self.state)
            boxes = Boxes(s.data_dir / "voicemail", http, lambda: self._call_managers)
            keylog = KeyLog(http, lambda: self._media_servers)
            ways = Ways(http, lambda: self._call_managers)
            tapes = Tapes(s.cluster, s.redis, s.live_password())
            succession = self._succession(registry, plane)
            server = Server(
                agent=agent,
                library=library,
                managers=managers,
                keylog=keylog,
                web=web,
                key=self._key,
                domain=s.vip,
                book=keeping.book,
                plane=plane,
                boxes=boxes,
                tapes=tapes,
                ways=ways,
                journal=succession.journal if succession is not None else None,
            )
            agent.on_change = server.changed
            self._continuity = Continuity(server, self.state, succession)
            service = status.service(s, self._responder.probe if self._responder else "")
            membership = Membership(registry, s.cluster, s.server, lambda: service, self._report)
            if self._responder is not None:
                hurry()
                await nursery.start(self._responder.run)
            await nursery.start(serve, self._application(membership), s.address, s.admin_port)
            nursery.start_soon(garbage.collect, lambda: self.state.calls)
            nursery.start_soon(agent.serve, Answering(server, self.state).answer)
            nursery.start_soon(self._check_forever, checker, plane)
            nursery.start_soon(membership.report)
            nursery.start_soon(membership.follow_switch, self._switched)
            nursery.start_soon(self._follow_servers, registry)
            nursery.start_soon(keeping.run)
            nursery.start_soon(boxes.run)
            nursery.start_soon(keylog.run)
            nursery.start_soon(tapes.run)
            nursery.start_soon(ways.run)
            nursery.start_soon(self._continuity.run)
            if succession is not None:
                nursery.start_soon(succession.run)
            task_status.started()
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for received in signals:
                    log.info("stopping on %s", signal.Signals(received).name)
                    break
            with trio.move_on_after(LEAVE_WITHIN):
                await membership.leave()
            await self._continuity.hand_over()
            with trio.move_on_after(LEAVE_WITHIN):
                await boxes.finished()
            nursery.cancel_scope.cancel()

    def _succession(self, registry: Registry, plane: AudioPlane) -> Succession | None:
        """How calls go on with other servers; None where there is none."""
        s = self.settings
        if self._responder is None or s.redis is None:
            return None
        return Succession(
            self._responder,
            registry,
            s.redis,
            s.live_password(),
            adopt=lambda call, record: self._continuity.adopt(call, record),
            drop=lambda: self._continuity.drop(),
            ready=lambda: self.state.availability.up and bool(self.state.in_force),
            speak_until=plane.speak_until,
        )

    # How it is.

    async def _check_forever(self, checker: Checker, plane: AudioPlane) -> None:
        state = self.state
        while True:
            began = trio.current_time()
            try:
                state.answered = await checker.check()
                passed = True
            except CheckError as error:
                state.failure, passed = str(error), False
            before = state.availability
            state.availability = before.after(passed, trio.current_time())
            if before.up != state.availability.up:
                if before.up:
                    log.warning("IVR server is down: %s", state.failure)
                else:
                    log.info("IVR server is up")
            state.legs = plane.legs
            self.metrics.update(status.metrics(state))
            await trio.sleep_until(began + state.availability.check_after(passed))

    def _report(self) -> tuple[Status, str]:
        return status.report(self.state, trio.current_time())

    def _application(self, membership: Membership) -> Application:
        async def drain() -> None:
            self.state.switch = await membership.drain()

        return create_app(
            title="IVR server",
            version=self.settings.release,
            token=self._token,
            health=lambda: status.health(self.state, trio.current_time()),
            metrics=self.metrics.registry,
            drain=drain,
            routers=(leaving(lambda: self._continuity.hand_over()),),
        )

    def _switched(self, switch: Switch) -> None:
        self.state.switch = switch
        if switch.state == "enabled":
            self.state.left = False

    # What it is told.

    async def _follow_servers(self, registry: Registry) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_call_managers, registry)
            async for instances in registry.watch_health("media"):
                self._media_servers = self._ours(instances)

    async def _follow_call_managers(self, registry: Registry) -> None:
        async for instances in registry.watch_health("call-manager"):
            self._call_managers = self._ours(instances)

    def _ours(self, instances: Iterable[Instance]) -> tuple[Instance, ...]:
        ours = [i for i in instances if i.meta.get("cluster") == self.settings.cluster]
        # Who is well is asked first.
        return tuple(sorted(ours, key=lambda each: not each.passing))
