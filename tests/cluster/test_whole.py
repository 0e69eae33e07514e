"""The example's cluster by real `pbxctl apply` on real Nomad; calls are up while things happen."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from services.core.audio import g711
from tests.cluster import rtp
from tests.cluster.conversation import DOMAIN, Phones
from tests.cluster.lab import Host
from tests.cluster.whole import WholePbx, whole_pbx
from tests.integration.calls.party import Call
from tests.support.browser import browser

log = logging.getLogger(__name__)

pytestmark = pytest.mark.long

RELEASE, BROKEN = "0.1.1", "0.1.2"
GET_WELL = 30.0
"""Seconds that a broken job has before it is put back: nothing will come of it."""
STATUS = 30.0
"""Seconds for one command where engines are away, on five hosts that share two cores."""
OVER_TLS = ("2003",)
PROGRAM = re.compile(r"/bin/pbx-(call-manager|media|database|live|ivr)$")
ROLES = ("call-manager", "database", "live", "media", "ivr")
ROLL = 400.0
"""Seconds for eleven jobs, each replaced when the one before is healthy."""
BACK = 180.0
"""Seconds for a host to be in service again after its power came back."""


class Running:
    """A cluster that is up, with its phones. Blocking."""

    def __init__(self, pbx: WholePbx, phones: Phones) -> None:
        self.pbx, self.phones = pbx, phones

    def pbxctl(self, *arguments: str, **more: Any) -> CompletedProcess[str]:
        return trio.run(partial(self.pbx.pbxctl, *arguments, **{"within": BACK} | more))

    def releases(self) -> set[str]:
        """What runs, as the registry has it."""
        found: set[str] = set()
        for role in ROLES:
            rows = trio.run(self.pbx.network.ask_any, f"/v1/health/service/{role}?stale")
            found |= {row["Service"]["Meta"]["release"] for row in rows or []}
        return found

    def places(self) -> set[str]:
        """Where the programs of the servers that run are installed."""
        found: set[str] = set()
        for host in self.pbx.network.hosts.values():
            for pid in host.pids():
                words = self.command(pid).decode(errors="replace").split("\0")
                found |= {str(Path(w).parents[1]) for w in words if PROGRAM.search(w)}
        return found

    def having(self, address: str) -> list[Host]:
        """The hosts that have an address and are on."""
        hosts = self.pbx.network.hosts.values()
        return [host for host in hosts if host.on and address in host.addresses()]

    def holder(self) -> Host:
        """The host with the VIP, waited for."""
        return self.holder_of(self.pbx.network.vip)

    def holder_of(self, address: str) -> Host:
        """The host with an address, waited for."""
        return self.phones.wait(lambda: self.having(address), f"a holder of {address}")[0]

    @staticmethod
    def command(pid: int) -> bytes:
        """A process' words; none of one that has ended."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    def moved(self, address: str, before: Host) -> Host:
        """Who has an address that somebody else had, waited for."""

        def elsewhere() -> list[Host]:
            return [host for host in self.having(address) if host is not before]

        return self.phones.wait(elsewhere, f"{address} to leave {before.name}")[0]

    def well(self, within: float = BACK) -> None:
        """Wait until every server's roles pass their checks again."""
        found: Any = None
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = self.pbxctl("status", "--json", check=False)
            if found.returncode == 0:
                return
            time.sleep(1.0)
        raise AssertionError(f"not well in {within:g} s:\n{found.stdout}{found.stderr}")

    @contextmanager
    def drained(self, host: Host, *arguments: str) -> Iterator[str]:
        """Inside, a server is out of service; what `pbxctl server drain` said."""
        try:
            yield self.pbxctl("server", "drain", host.name, *arguments).stdout
        finally:
            self.pbxctl("server", "enable", host.name)

    def empty_plan(self) -> None:
        done = self.pbxctl("plan", str(self.pbx.spec), "--detailed-exitcode", check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholePbx]:
    with whole_pbx() as pbx:
        trio.run(pbx.begin)
        trio.run(pbx.apply)
        yield pbx


@pytest.fixture
def running(cluster: WholePbx) -> Iterator[Running]:
    """With every server in service: only then is one failure one failure."""
    for host in cluster.network.hosts.values():
        host.power_on()
    with Phones(cluster, over_tls=OVER_TLS) as phones:
        found = Running(cluster, phones)
        found.well()
        yield found


def test_calls_outlive_the_holder_of_the_vip(running: Running) -> None:
    call = running.phones.talk("2001", "2002")
    dead = running.holder()
    began = time.monotonic()
    dead.power_off()
    running.moved(running.pbx.network.vip, dead)
    new = running.phones.talk("2002", "2003")
    call.hears(since=began, gap=0.5)
    call.hang_up()
    new.hang_up(by_callee=True)
    for each in (call, new):
        each.one_record()
    dead.power_on()
    running.well()
    call.one_record()


def test_calls_outlive_their_media_server(running: Running) -> None:
    call = running.phones.talk("2001", "2002")
    (dead,) = running.having(call.media)
    began = time.monotonic()
    dead.power_off()
    running.moved(call.media, dead)
    call.hears(since=began, gap=3.0)
    new = running.phones.talk("2002", "2003")
    new.hang_up()
    call.hang_up(by_callee=True)
    call.one_record()
    dead.power_on()
    running.well()


def test_a_caller_at_a_menu_outlives_its_server(running: Running) -> None:
    call = running.phones.at_menu("2001", "800", secure=True)
    (dead,) = running.having(call.server)
    began = time.monotonic()
    dead.power_off()
    call.ear.press("1")
    call.leaves(dead.address)
    call.hears(since=began, gap=1.0)
    # What was pressed while nobody had the call: the front desk is rung.
    desk = running.phones.parties["2002"]
    rung = Call(desk, desk.expect("INVITE"))
    rung.reply(180)
    call.hang_up()
    desk.reply(desk.expect("CANCEL", call_id=rung.call_id), 200)
    rung.reply(487)
    new = running.phones.at_menu("2002", "800")
    assert new.server != dead.address
    new.hang_up()
    for each in (new, call):
        each.one_record()
    dead.power_on()
    running.well()


def test_an_ivr_server_is_drained_and_enabled_again(running: Running) -> None:
    call = running.phones.at_menu("2001", "800")
    (host,) = running.having(call.server)
    began = time.monotonic()
    drained = running.pbx.manager.start(
        running.pbx.words("server", "drain", host.name, "--deadline", "2"),
        env=running.pbx.environment(),
        name="drain-ivr",
    )
    try:
        call.leaves(host.address)
        assert trio.run(drained.wait, BACK) == 0, drained.text()
        assert f"{host.name} ivr: drained in" in drained.text(), drained.text()
        assert "1 handed over, 0 finished, 0 cut" in drained.text(), drained.text()
        call.hears(since=began, gap=1.0)
        new = running.phones.at_menu("2002", "800")
        assert new.server != host.address
        new.hang_up()
    finally:
        running.pbxctl("server", "enable", host.name)
    call.hang_up()
    call.one_record()


def test_the_vip_is_handed_over(running: Running) -> None:
    call = running.phones.talk("2001", "2002")
    before = running.holder()
    began = time.monotonic()
    said = running.pbxctl("failover").stdout
    after = running.moved(running.pbx.network.vip, before)
    assert said.startswith(f"the VIP went from {before.name} to {after.name} in")
    running.phones.talk("2003", "2001").hang_up()
    call.hears(since=began, gap=0.5)
    call.hang_up()
    call.one_record()


def test_a_media_server_is_drained_and_enabled_again(running: Running) -> None:
    call = running.phones.talk("2001", "2002")
    (host,) = running.having(call.media)
    began = time.monotonic()
    with running.drained(host) as said:
        assert f"{host.name} media: drained in" in said, said
        assert "1 handed over, 0 finished, 0 cut" in said, said
        assert running.having(call.media) != [host]
        call.hears(since=began, gap=1.0)
        new = running.phones.talk("2002", "2003")
        assert new.media != call.media
        new.hang_up()
    running.phones.wait(lambda: running.having(call.media) == [host], f"{host.name}'s own address")
    call.hears(since=began, gap=1.0)
    call.hang_up()
    call.one_record()


def test_a_call_manager_is_drained_and_enabled_again(running: Running) -> None:
    call = running.phones.talk("2001", "2002")
    host = running.holder()
    began = time.monotonic()
    with running.drained(host) as said:
        assert f"{host.name} call-manager: drained in" in said, said
        assert "1 handed over, 0 finished, 0 cut" in said, said
        assert running.holder() is not host
        running.phones.talk("2002", "2003").hang_up()
    call.hears(since=began, gap=0.5)
    call.hang_up()
    call.one_record()


async def browser_call(running: Running) -> None:
    phones, network = running.phones, running.pbx.network
    ben = phones.parties["2002"]
    samples = (audio.speak(1, 8000) * 32767).astype(np.int16)
    speech = g711.encode(samples, "PCMA").tobytes()
    ear = rtp.Party(phones.host, secure=False, sequence=1000, speech=speech)

    def answer() -> Call:
        call = ben.invited(20)
        ear.take(call.invite.body)
        call.reply(180)
        call.answer(body=ear.offer())
        phones.talking.join(ear)
        return call

    def agree(call: Call) -> None:
        """Make an offer, and take the answer to it."""
        asked = ben.expect("INVITE", 20)
        assert asked.body == ""
        call.reply(200, ear.offer(), to=asked)
        ear.take(ben.expect("ACK").body)

    def end() -> None:
        ben.reply(ben.expect("BYE", 20), 200)

    async def hears() -> None:
        heard = await page.hears(1)
        assert heard.coverage > 0.95, await page.describe(str(heard))
        assert heard.likeness > 0.8, await page.describe(str(heard))

    inside = phones.host.command([])
    async with browser(voice=0, inside=inside) as page, trio.open_nursery() as nursery:
        url, password = f"wss://{network.vip}:8443", running.pbx.passwords["PASSWORD_2001"]
        assert await page.register(url, "2001", DOMAIN, password) == 200, await page.describe("")
        nursery.start_soon(page.dial, "2002")
        call = await trio.to_thread.run_sync(answer)
        await page.until("connection", "connected")
        await hears()
        assert ear.target is not None
        (dead,) = running.having(ear.target[0])
        began = time.monotonic()
        dead.power_off()
        await trio.to_thread.run_sync(agree, call)
        agreed = time.monotonic()
        await page.until("connection", "connected", count=2)
        await hears()
        arrived = [at for at, _ in ear.arrived]
        gap = max(later - earlier for earlier, later in itertools.pairwise(arrived))
        log.info("browser: agreed after %.2f s, silent for %.2f s", agreed - began, gap)
        nursery.start_soon(trio.to_thread.run_sync, end)
        assert await page.hang_up() == 200
    phones.talking.leave(ear)
    assert len(phones.wait(lambda: phones.records(call.call_id), "its record", 40)) == 1


def test_a_browsers_call_is_led_to_another_media_server(running: Running) -> None:
    trio.run(browser_call, running)


def test_a_release_goes_out_with_calls_up(running: Running) -> None:
    phones, pbx = running.phones, running.pbx
    calls = [phones.talk("2001", "2002"), phones.talk("2003", "2002"), phones.talk("2001", "2003")]
    began = time.monotonic()
    pbx.install(RELEASE)
    words = pbx.words("apply", str(pbx.spec), "-y", "--drain", "1", "--timeout", f"{ROLL:.0f}")
    apply = pbx.manager.start(words, env=pbx.environment(), name="apply-release")
    # Two releases side by side are one cluster: new calls, and those that are up.
    phones.wait(lambda: len(running.releases()) == 2, "two releases at once", ROLL)
    for number, (one, other) in enumerate((("2001", "2002"), ("2003", "2001"))):
        new = phones.talk(one, other)
        assert apply.running, apply.text()
        new.hang_up(by_callee=bool(number))
        new.one_record()
    assert trio.run(apply.wait, ROLL) == 0, apply.text()
    assert "3 calls up before, 3 after" in apply.text(), apply.text()
    for call in calls:
        call.hears(since=began, gap=3.0)
    running.empty_plan()
    assert running.releases() == {RELEASE}
    assert running.places() == {f"{pbx.network.directory}/releases/{RELEASE}"}
    phones.talk("2003", "2001").hang_up()
    for call in calls:
        call.hang_up(by_callee=True)
        call.one_record()


def test_a_release_that_does_not_get_well_is_put_back(running: Running) -> None:
    phones, pbx = running.phones, running.pbx
    calls = [phones.talk("2001", "2002"), phones.talk("2003", "2002")]
    began = time.monotonic()
    (before,), good = running.releases(), pbx.spec.read_text()
    # Media servers get well with it, and are replaced before the first IVR server.
    pbx.install(BROKEN, broken=["pbx-ivr"])
    words = ("apply", str(pbx.spec), "-y", "--drain", "1", "--health", f"{GET_WELL:.0f}")
    try:
        apply = running.pbxctl(*words, within=ROLL, check=False)
    finally:
        pbx.spec.write_text(good)
    said = " ".join((apply.stdout + apply.stderr).split())
    assert apply.returncode == 1, said
    assert f"was not healthy within {GET_WELL:.0f} s" in said, said
    assert f"it runs release {before} again, and nothing after it was touched" in said, said
    assert "put back too: media on media2, media on media1" in said, said
    running.well()
    assert running.releases() == {before}
    for call in calls:
        call.hears(since=began, gap=3.0)
    phones.talk("2003", "2001").hang_up()
    for call in calls:
        call.hang_up()
        call.one_record()
    trio.run(pbx.apply)
    running.empty_plan()


@pytest.mark.parametrize(
    ("engine", "port", "capacity"), [("nomad", 4646, 900), ("consul", 8500, 800)]
)
def test_an_apply_whose_engine_dies_is_done_again(
    running: Running, engine: str, port: int, capacity: int
) -> None:
    call = running.phones.talk("2001", "2002")
    began = time.monotonic()
    pbx, host = running.pbx, running.pbx.manager
    text = re.sub(
        r"(roles: \[media\], capacity: \{calls: )\d+", rf"\g<1>{capacity}", pbx.spec.read_text()
    )
    pbx.spec.write_text(text)
    words = pbx.words("apply", str(pbx.spec), "-y", "--drain", "1")
    apply = host.start(words, env=pbx.environment(), name=f"apply-cut-{engine}")
    trio.run(apply.says, "restarting media")
    {"nomad": pbx.network.nomad, "consul": pbx.network.consul}[engine][host.name].kill()
    assert trio.run(apply.wait) == 1, apply.text()
    said = " ".join(apply.text().split())
    assert "run the same apply again to go on from here" in said, said
    assert str(port) in said, said
    assert "Traceback" not in said
    {"nomad": pbx.network.start_nomad, "consul": pbx.network.start_consul}[engine](host.name)
    trio.run(pbx.network.consul_ready)
    trio.run(pbx.network.nomad_ready)
    trio.run(pbx.apply)
    running.empty_plan()
    running.well()
    call.hears(since=began, gap=3.0)
    call.hang_up()
    call.one_record()


def test_a_server_that_leaves_the_spec_hands_its_calls_over(running: Running) -> None:
    pbx = running.pbx
    call = running.phones.talk("2001", "2002")
    (host,) = running.having(call.media)
    began, whole = time.monotonic(), pbx.spec.read_text()
    pbx.spec.write_text(re.sub(rf"^  - {{name: {host.name}, .*\n", "", whole, flags=re.MULTILINE))
    plan = running.pbxctl("plan", str(pbx.spec)).stdout
    assert re.search(rf"- {host.name} +leaves media +drains first", plan), plan
    trio.run(pbx.apply)
    running.well()
    assert running.holder_of(call.media) is not host
    assert host.name not in running.pbxctl("status").stdout
    assert not [pid for pid in host.pids() if b"--listen-ng" in running.command(pid)]
    call.hears(since=began, gap=3.0)
    running.phones.talk("2002", "2003").hang_up()
    call.hang_up()
    call.one_record()
    pbx.spec.write_text(whole)
    trio.run(pbx.apply)
    running.empty_plan()


def test_status_says_in_seconds_what_it_cannot_know(running: Running) -> None:
    """Two of Nomad's three servers are away: no quorum, and calls go on."""
    pbx = running.pbx
    call = running.phones.talk("2001", "2002")
    asked = pbx.manager
    away = [name for name in pbx.network.nomad_servers if name != asked.name]
    for name in away:
        pbx.network.nomad[name].kill()
    try:
        began = time.monotonic()
        done = running.pbxctl("status", on=asked, check=False, within=STATUS)
        took, said = time.monotonic() - began, " ".join(done.stdout.split())
        assert done.returncode == 1, said
        assert "1 call" in said, said
        assert "VIP" in said, said
        for server in ("cm1", "cm2", "cm3", "media1", "media2"):
            assert server in said, said
        assert re.search(r"has no leader|did not say within", said), (said, took)
        drained = running.pbxctl("server", "disable", "media2", on=asked, within=STATUS)
        assert "media2 is disabled" in drained.stdout
        running.pbxctl("server", "enable", "media2", on=asked, within=STATUS)
    finally:
        for name in away:
            pbx.network.start_nomad(name)
    trio.run(pbx.network.nomad_ready)
    call.hang_up()
    call.one_record()
