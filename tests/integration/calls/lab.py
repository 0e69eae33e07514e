"""A Call Manager with two real media servers, and everything that calls can be about configured."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.call_manager.tables import MediaServer, Number, Picture
from services.core.configuration import (
    Cluster,
    Destination,
    Forward,
    NumberPlan,
    RingGroup,
    RingMember,
    Route,
    RouteTrunk,
    Tenant,
    Trunk,
    User,
)
from services.core.events import Event, Tail
from services.core.store import media_sets
from services.core.store.database import Database
from services.media import rtpengine
from services.media.settings import MediaSettings
from tests.support.hosts import loopback_network
from tests.support.kamailio import CallManager, user

SALES, OTHER = "sales.example", "other.example"


def destination(kind: str, target: str) -> Destination:
    return Destination(kind=kind, target=target)  # type: ignore[arg-type]


def forward(**more: Any) -> Forward:
    """Forwarding; a destination is (kind, target)."""
    made: dict[str, Any] = {}
    for name, value in more.items():
        made[name] = destination(*value) if isinstance(value, tuple) else value
    return Forward(**made)


def group(
    strategy: str, members: dict[str, int], timeout: int, then: Destination | None = None
) -> RingGroup:
    return RingGroup(
        members=tuple(RingMember(extension=e, priority=p) for e, p in members.items()),
        strategy=strategy,  # type: ignore[arg-type]
        timeout=timeout,
        then=then,
    )


def picture(network: str) -> Picture:
    """Tenants ``sales`` and ``other``; trunks ``carrier-a`` (.101) and ``carrier-b`` (.102)."""
    plan = NumberPlan(country="49", international="00", national="0")
    tenants = (
        Tenant(
            name="sales",
            domains=(SALES,),
            main_number="+4930100",
            plan=plan,
            emergency=("110",),
            menus={"main": "800"},
            ring_groups={
                "all": group("simultaneous", {"2001": 1, "2002": 1}, 5),
                "turn": group(
                    "sequential", {"2001": 1, "2002": 1}, 1, destination("extension", "2003")
                ),
                "prio": group("priority", {"2002": 1, "2001": 2}, 1),
            },
        ),
        Tenant(name="other", domains=(OTHER,), main_number="+4940200", plan=plan),
        Tenant(name="small", domains=("small.example",), max_calls=1),
    )
    trunks = tuple(
        Trunk(
            name=f"carrier-{letter}",
            host=f"{network}.{host}",
            addresses=(f"{network}.{host}",),
            channels=channels,
            country="49" if letter == "b" else "",
        )
        for letter, host, channels in (("a", 101, 2), ("b", 102, 0))
    )
    both = (RouteTrunk(trunk="carrier-b", cost=2), RouteTrunk(trunk="carrier-a", cost=1))
    routes = (
        Route(name="emergency", match=("112",), trunks=both, always=True),
        Route(name="german", match=("+49*",), trunks=both),
        Route(name="world", match=("+*",), trunks=both, tenants=("sales",)),
        Route(name="service", match=("118*", "110"), trunks=both),
    )
    numbers = {
        "+49301001": Number(tenant="sales", destination=destination("extension", "2001")),
        "+49301002": Number(tenant="sales", destination=destination("ring_group", "all")),
        "+49301003": Number(tenant="sales", destination=destination("number", "+4989555")),
        "+49301004": Number(tenant="sales", destination=destination("announcement", "unavailable")),
        "+49402001": Number(tenant="other", destination=destination("extension", "2001")),
    }
    return Picture(
        cluster=Cluster(name="test"), routes=routes, tenants=tenants, trunks=trunks, numbers=numbers
    )


def users() -> list[User]:
    """2001 to 2009 of ``sales`` may call nationally, 2001 and 2002 of ``other`` internally."""
    return [
        *(user(str(2000 + n), permission="national", name=f"User {n}") for n in range(1, 10)),
        *(user(e, tenant="other", realm=OTHER) for e in ("2001", "2002")),
        *(user(e, tenant="small", realm="small.example") for e in ("1", "2", "3")),
    ]


class Lab:
    """What tests turn. ``events`` are those since the last `clear`."""

    def __init__(self, manager: CallManager) -> None:
        self.manager = manager
        self.network, self.address = manager.network, manager.address
        self._engines: dict[str, subprocess.Popen[bytes]] = {}
        self.picture = picture(self.network)
        self._settings = {
            name: self._media(name, host) for name, host in (("media1", 21), ("media2", 22))
        }
        manager.tables.write(self.picture)
        manager.tables.load_users(users())
        self.media()
        database = Database(manager.settings.database_url)
        with database.write() as connection:
            media_sets.put(
                connection,
                {
                    n: f"udp:{s.address}:{s.control_port}"
                    for n, s in enumerate(self._settings.values(), 1)
                },
            )
        database.close()
        self.tail = Tail(manager.settings.spool_dir)

    def _media(self, name: str, host: int) -> MediaSettings:
        root = self.manager.root / name
        root.mkdir()
        (root / "recordings").mkdir()
        return MediaSettings(
            cluster="test",
            server=name,
            release="0",
            registry="http://127.0.0.1:9",
            address=f"{self.network}.{host}",
            media_address=f"{self.network}.{host}",
            data_dir=root,
            run_dir=root,
            secrets_dir=self.manager.root / "secrets",
            recordings_dir=root / "recordings",
        )

    def media(self, *, announce: bool = False, **states: str) -> None:
        """Set media servers' states; those not named are up. Announcements are played at .50."""
        self.manager.tables.write_media(
            MediaServer(
                name=name,
                set=number,
                control=f"{s.address}:{s.control_port}",
                announce=f"{self.network}.50:5060" if announce else "",
                capacity=100,
                state=states.get(name, "up"),  # type: ignore[arg-type]
            )
            for number, (name, s) in enumerate(self._settings.items(), 1)
        )

    def start_media(self, name: str) -> None:
        if name in self._engines:
            return
        settings = self._settings[name]
        rtpengine.check(settings)
        log = (self.manager.root / f"{name}.log").open("ab")
        with log:
            self._engines[name] = subprocess.Popen(
                rtpengine.arguments(settings), stdout=log, stderr=log, start_new_session=True
            )

    def kill_media(self, name: str) -> None:
        process = self._engines.pop(name)
        process.kill()
        process.wait(10)

    def engine(self, name: str) -> subprocess.Popen[bytes]:
        return self._engines[name]

    def _reachable(self, name: str) -> bool:
        try:
            self.calls_at(name)
        except OSError:
            return False
        return True

    def calls_at(self, name: str) -> list[str]:
        """Call-IDs that a media server has."""
        s = self._settings[name]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            client.sendto(b"1 d7:command4:liste", (s.address, s.control_port))
            data = client.recv(65536)
        return data.decode().partition("callsl")[2].partition("e6:result")[0].split()

    def recording_notes(self) -> str:
        """What rtpengine has written about recordings, whole."""
        files = (
            path
            for settings in self._settings.values()
            for path in settings.recordings_dir.rglob("*rtpengine-meta-*")
        )
        return "".join(path.read_text(errors="replace") for path in sorted(files))

    def change_user(
        self, extension: str, tenant: str = "sales", realm: str = SALES, **more: Any
    ) -> None:
        more.setdefault("permission", "national")
        self.manager.tables.put_users([user(extension, tenant=tenant, realm=realm, **more)])

    def counters(self) -> dict[str, int]:
        """Counters of calls that are up, those at zero left out."""
        entries = self.manager.rpc("htable.dump", "calls") or []
        slots = (slot for entry in entries for slot in entry["slot"])
        return {slot["name"]: int(slot["value"]) for slot in slots if int(slot["value"])}

    def wait(self, condition: Any, what: str, seconds: float = 30) -> Any:
        return self.manager.wait_for(condition, what, seconds)

    def idle(self) -> None:
        """Every counter is back at zero."""
        self.wait(lambda: not self.counters(), "counters at zero")

    def events(self, count: int, seconds: float = 15) -> list[Event]:
        """The next ``count`` events, by time."""
        found: list[Event] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            found += self.tail.read()
            time.sleep(0.02)
        assert len(found) == count, f"{count} events wanted: {found}"
        return sorted(found, key=lambda event: event.time)

    def clear(self) -> None:
        """As after a start: users, tables, bindings, media servers, events."""
        self.manager.tables.write(self.picture)
        self.manager.tables.load_users(users())
        self.media()
        for name in self._settings:
            self.start_media(name)
        self.wait(lambda: all(self._reachable(name) for name in self._settings), "media servers")
        # The module forgets that a server was lost only after a while, or when it is told.
        self.manager.rpc("rtpengine.ping", "all")
        for table in ("media_out", "rate", "authfail", "ipban", "nonces", "trunk_auth", "calls"):
            self.manager.rpc("htable.flush", table)
        for tenant in ("sales", "other", "small"):
            for extension in ("1", "2", "3", *(str(2000 + n) for n in range(1, 10))):
                self.manager.rpc("ul.rm", "location", f"{extension}@{tenant}")
        while self.tail.read():
            pass

    def close(self) -> None:
        for name in list(self._engines):
            self.kill_media(name)


@contextmanager
def lab(**settings: str) -> Iterator[Lab]:
    """A lab that runs, and is gone afterwards."""
    import tempfile

    with (
        loopback_network() as network,
        tempfile.TemporaryDirectory(prefix="pbx") as root,
    ):
        manager = CallManager(Path(root), network, **settings)
        try:
            made = Lab(manager)
            try:
                for name in ("media1", "media2"):
                    made.start_media(name)
                manager.start()
                yield made
            finally:
                made.close()
        finally:
            manager.close()
