"""The agent's shell: feeds checks, switch and load to the pure parts, and does what they say."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import trio

from services.core import garbage
from services.core.admin import Application, Health, create_app, serve
from services.core.configuration import Cluster, Switch, prefix
from services.core.discovery import Instance, Registry, Status
from services.core.failover import Responder, member_of
from services.core.failover.priority import hurry
from services.core.membership import Membership, follow_switches, read
from services.core.ng import Ng, NgError, open_ng
from services.media import status
from services.media.admin import Metrics, keys_router, metrics, sources, with_teardown
from services.media.announcement.service import Announcements
from services.media.health import PROBE, Echo, EchoError, open_echo
from services.media.keys import KEPT, Keys, Pressed, read_log
from services.media.recording.service import Recordings
from services.media.rtpengine import CHECK, host_port
from services.media.settings import MediaSettings
from services.media.status import State
from services.media.takeover import Heartbeat, Takeover
from services.media.tap import Tap, open_tap

if TYPE_CHECKING:
    from services.media.mirror.mirror import Mirror

log = logging.getLogger(__name__)

TELL_ATTEMPTS = 4
LONGEST_TOLD = 4096
"""Bytes of what rtpengine says of a key."""
LONGEST_EVENT = 128
EVENTS_AT_ONCE = 200
EVENTS_EVERY = 0.02
"""Seconds between two looks at so many packets at most: nobody's keys hold the agent up."""
LEAVE_WITHIN = 4.0
"""Seconds to deregister: the job's kill_timeout is longer."""


class Agent:
    """One media server's agent; `run` returns when it is told to stop."""

    def __init__(self, settings: MediaSettings) -> None:
        self.settings = settings
        self._responder: Responder | None = None
        if settings.managers:
            port, managers = settings.probe_port, settings.managers
            member = member_of(settings, status.ROLE, port=port, managers=managers)
            self._responder = Responder(member, well=self._well)
        self._heartbeat: Heartbeat | None = None
        self._mirror: Mirror | None = None
        self._takeover: Takeover | None = None
        probe = "" if self._responder is None else self._responder.probe
        self.service = status.service(settings, probe)
        self.state = State(capacity=settings.capacity, floats=settings.floats)
        self.metrics = Metrics()
        self._keys, self._tap = Keys(), Tap()
        self._token = settings.admin_token()
        self._call_managers: tuple[Instance, ...] = ()
        self._gone, self._to_tell = trio.open_memory_channel[str](10_000)

    @property
    def call_managers(self) -> tuple[Instance, ...]:
        """The cluster's, as the registry last told them."""
        return self._call_managers

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check, report, serve, until SIGTERM or SIGINT. Raises OSError for a wrong address."""
        s = self.settings
        headers = {"Authorization": f"Bearer {self._token}"}
        checked = (s.address, s.address, CHECK) if s.floats else (s.address, s.media_address)
        async with (
            Registry(s.registry, s.registry_token()) as registry,
            open_ng(*s.control) as ng,
            open_echo(ng, *checked) as echo,
            httpx.AsyncClient(headers=headers, timeout=3.0, trust_env=False) as http,
            trio.open_nursery() as nursery,
        ):
            recordings = Recordings(s, ng, http, self.state, lambda: self._call_managers)
            announcements = Announcements(s, self.state, lambda: self._call_managers)
            if self._responder is not None:
                await self._join(self._responder, registry, ng, http, recordings, nursery)
            membership = Membership(
                registry,
                s.cluster,
                s.server,
                lambda: status.troubled(self.service, self.state),
                self._report,
            )
            await nursery.start(serve, self._application(membership), s.address, s.admin_port)
            if s.floats:
                nursery.start_soon(self._see_keys)
            else:
                await nursery.start(self._hear_of_keys)
            nursery.start_soon(self._check_forever, ng, echo)
            nursery.start_soon(membership.report)
            nursery.start_soon(membership.follow_switch, self._switched)
            nursery.start_soon(self._follow_call_managers, registry)
            nursery.start_soon(self._follow_configuration, registry, recordings.configure)
            nursery.start_soon(self._tell_forever, http)
            nursery.start_soon(recordings.run)
            nursery.start_soon(announcements.run)
            nursery.start_soon(garbage.collect, lambda: self.state.sessions)
            task_status.started()
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for received in signals:
                    log.info("stopping on %s", signal.Signals(received).name)
                    break
            with trio.move_on_after(LEAVE_WITHIN):
                await self._leave(membership)
            nursery.cancel_scope.cancel()

    async def _join(
        self,
        responder: Responder,
        registry: Registry,
        ng: Ng,
        http: httpx.AsyncClient,
        recordings: Recordings,
        nursery: trio.Nursery,
    ) -> None:
        """Be probed, and where addresses float, mirror sessions and take part in serving them."""
        s = self.settings
        hurry()
        self._heartbeat = Heartbeat(ng)
        nursery.start_soon(self._heartbeat.run)
        await nursery.start(responder.run)
        if not s.floats:
            return
        # Redis' client is a sixth of the time that the agent takes to start.
        from services.media.mirror.mirror import Mirror

        self._mirror = Mirror(
            s.cluster,
            s.server,
            {peer.name: peer.address for peer in s.floating},
            port=s.mirror_port,
            cli_port=s.cli_port,
            redis=s.redis,
            password=s.live_password(),
            restarted=recordings.resume,
        )
        recordings.follow(self._mirror)
        self._takeover = Takeover(
            s,
            responder,
            registry,
            self._mirror,
            self._heartbeat,
            http,
            fit=lambda: self.state.availability.up,
            gained=recordings.resume,
        )
        await nursery.start(self._mirror.run)
        nursery.start_soon(self._takeover.run)
        nursery.start_soon(self._follow_media_servers, registry, self._takeover)
        nursery.start_soon(
            follow_switches, registry, s.cluster, status.ROLE, self._takeover.switched
        )

    async def _hear_of_keys(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take rtpengine's word on keys, for ever. Raises OSError for a port it cannot have."""
        address = self.settings.address
        here = sources(address)
        family = trio.socket.AF_INET6 if ":" in address else trio.socket.AF_INET
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as own:
            try:
                await own.bind((address, self.settings.keys_port))
            except OSError as error:
                # Whoever has the port would be told the keys.
                at = host_port(address, self.settings.keys_port)
                raise OSError(error.errno, f"keys_port {at}: {error.strerror}") from None
            task_status.started()
            while True:
                with trio.move_on_after(KEPT):
                    datagram, source = await own.recvfrom(LONGEST_TOLD)
                    if source[0] in here and (found := read_log(datagram)) is not None:
                        self._keys.pressed(*found, trio.current_time())
                self._keys.forget(trio.current_time())

    async def _see_keys(self) -> None:
        """Read keys off what this host sends, for ever."""
        try:
            tap = open_tap()
        except OSError as error:
            log.warning("keys that are pressed while a server fails are lost: %s", error.strerror)
            return
        with tap:
            while True:
                with trio.move_on_after(KEPT):
                    await trio.lowlevel.wait_readable(tap)
                with suppress(BlockingIOError):
                    for _ in range(EVENTS_AT_ONCE):
                        self._tap.saw(tap.recv(LONGEST_EVENT), trio.current_time())
                self._tap.forget(trio.current_time())
                await trio.sleep(EVENTS_EVERY)

    def _pressed(self, calls: list[str]) -> dict[str, Pressed]:
        """Keys by Call-ID."""
        now = trio.current_time()
        if self._mirror is None:
            return self._keys.of(calls, now)
        found: dict[str, Pressed] = {}
        for call in calls:
            places, age = self._mirror.sockets(call)
            # A port may have been another call's before.
            found[call] = self._tap.of(places, age, now)
        return {call: pressed for call, pressed in found.items() if pressed}

    def _well(self) -> bool:
        """Whether rtpengine does its job, as the Call Managers' probes are told."""
        heartbeat = self._heartbeat
        return heartbeat is not None and heartbeat.beats() and self.state.availability.up

    def _application(self, membership: Membership) -> Application:
        async def drain() -> None:
            self.state.switch = await membership.drain()

        app = create_app(
            title="Media server",
            version=self.settings.release,
            token=self._token,
            health=self._health,
            metrics=self.metrics.registry,
            drain=drain,
            routers=(keys_router(self._pressed),),
        )
        return with_teardown(app, self.settings.address, self._media_gone)

    def _health(self) -> Health:
        self.metrics.update(metrics(self.state))
        return status.health(self.state, trio.current_time())

    async def _leave(self, membership: Membership) -> None:
        if self._takeover is not None:
            with trio.move_on_after(LEAVE_WITHIN / 2):
                await self._takeover.leave()
        await membership.leave()

    async def _check_forever(self, ng: Ng, echo: Echo) -> None:
        while True:
            started = trio.current_time()
            passed = await self._check(echo)
            now = trio.current_time()
            before = self.state.availability
            self.state.availability = before.after(passed, now)
            if before.up != self.state.availability.up:
                if before.up:
                    log.warning("media server is down: %s", self.state.failure)
                else:
                    log.info("media server is up")
            with suppress(NgError):  # the check says it
                status.read_load(self.state, await ng.command("statistics"))
            self.metrics.update(metrics(self.state))
            await trio.sleep_until(started + self.state.availability.check_after(passed))

    async def _check(self, echo: Echo) -> bool:
        try:
            self.state.echo = await echo.check()
        except EchoError as error:
            self.state.failure = str(error)
            return False
        return True

    def _report(self) -> tuple[Status, str]:
        self._read_takeover()
        return status.report(self.state, trio.current_time())

    def _read_takeover(self) -> None:
        state, mirror, takeover = self.state, self._mirror, self._takeover
        if mirror is None or takeover is None:
            return
        state.serving = takeover.held
        state.at_home = takeover.at_home
        state.away = takeover.away
        state.sessions_ready = mirror.ready
        state.mirror_problem = mirror.problem
        state.mirrored = mirror.sessions.counts()
        state.handed_over = takeover.handed_over

    def _switched(self, switch: Switch) -> None:
        self.state.switch = switch

    async def _follow_media_servers(self, registry: Registry, takeover: Takeover) -> None:
        async for instances in registry.watch_health(status.ROLE):
            cluster = self.settings.cluster
            takeover.see([i for i in instances if i.meta.get("cluster") == cluster])

    async def _follow_call_managers(self, registry: Registry) -> None:
        async for instances in registry.watch_health("call-manager"):
            self._call_managers = tuple(
                i for i in instances if i.meta.get("cluster") == self.settings.cluster
            )

    async def _follow_configuration(
        self, registry: Registry, configure: Callable[[Cluster], None]
    ) -> None:
        key = f"{prefix(self.settings.cluster)}config/cluster"
        async for values in registry.watch(key):
            if key in values:
                configure(read(values[key], Cluster, Cluster(name=self.settings.cluster)))

    def _media_gone(self, call: str) -> None:
        if call.startswith(PROBE):
            return
        if self._mirror is not None and not self._mirror.serves(call):
            return  # its address is elsewhere, and there packets come
        log.warning("media of call %s are gone", call)
        try:
            self._gone.send_nowait(call)
        except trio.WouldBlock:
            log.warning("too many calls lost their media at once; %s is left to time out", call)

    async def _tell_forever(self, http: httpx.AsyncClient) -> None:
        async with trio.open_nursery() as nursery:
            async for call in self._to_tell:
                for instance in self._call_managers:
                    nursery.start_soon(self._tell, http, instance, call)

    async def _tell(self, http: httpx.AsyncClient, instance: Instance, call: str) -> None:
        """Twice is once: a Call Manager that has no such call says 404, and that is that."""
        url = f"{instance.meta.get('admin', '')}/v1/calls/{quote(call, safe='')}"
        problem = ""
        for attempt in range(TELL_ATTEMPTS):
            try:
                about = {"reason": "media-timeout", "media": self.settings.server}
                answer = await http.delete(url, params=about)
                if answer.status_code < 500:
                    return
                problem = f"status {answer.status_code}"
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            await trio.sleep(0.5 * 2**attempt)
        log.warning("could not tell %s that call %s has no media: %s", instance.id, call, problem)
