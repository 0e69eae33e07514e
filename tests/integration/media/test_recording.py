from __future__ import annotations

import subprocess
import tempfile
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import trio

from services.core.configuration import Cluster, Recording
from services.core.ng import Ng, open_ng
from services.media.recording.metadata import About, encode_about
from services.media.sdp import audio
from tests.integration.media.call_manager import CallManager, call_manager
from tests.integration.media.media_server import CLUSTER, MediaServer, media_server
from tests.integration.media.phone import Call, Phone, both_talk, phone
from tests.integration.media.sound import Samples, hears, loudness
from tests.integration.media.test_calls import SRTP
from tests.support.waiting import until

ABOUT = About(tenant="sales", caller="+4930123", callee="2001", tag="caller")
RECORD = {"record-call": "on", "metadata": encode_about(ABOUT)}


class Lab:
    def __init__(self, server: MediaServer, manager: CallManager, ng: Ng) -> None:
        self.server, self.manager, self.ng = server, manager, ng

    @asynccontextmanager
    async def phones(self, first: Any, second: Any) -> AsyncIterator[tuple[Phone, Phone]]:
        network = self.server.network
        async with (
            phone(f"{network}.11", **first) as caller,
            phone(f"{network}.12", **second) as callee,
        ):
            yield caller, callee


@asynccontextmanager
async def lab(**options: Any) -> AsyncIterator[Lab]:
    async with (
        media_server(**options) as (server, registry),
        call_manager(registry, f"{server.network}.1", "cm1") as manager,
    ):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        async with open_ng(server.settings.address, server.settings.control_port) as ng:
            yield Lab(server, manager, ng)


def read(entry: dict[str, Any]) -> tuple[int, Samples, Samples]:
    """Rate, left (the caller) and right (the callee)."""
    with wave.open(entry["path"], "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        assert entry["size"] == Path(entry["path"]).stat().st_size
        assert abs(entry["duration"] - len(frames) / file.getframerate()) < 0.01
        return file.getframerate(), frames[:, 0].copy(), frames[:, 1].copy()


def assert_sides(entry: dict[str, Any], rate: int, at_least: float) -> None:
    found, left, right = read(entry)
    assert found == rate
    assert len(left) > at_least * rate
    middle = slice(rate // 4, int(at_least * rate))
    assert hears(left[middle], rate, 440), "the caller is on the left"
    assert hears(right[middle], rate, 1000), "the callee is on the right"


async def test_a_call_is_recorded_by_rule_and_indexed() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, callee):
        call = Call(here.ng, "odd/../call id%41@host")
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 1.5)
        await call.delete()
        (entry,) = await here.manager.until_recordings(1)
        assert entry["call"] == call.id
        assert (entry["tenant"], entry["caller"], entry["callee"]) == ("sales", "+4930123", "2001")
        assert entry["server"] == "media1"
        assert entry["keep_until"] == entry["started"] + 90 * 86400
        assert_sides(entry, 8000, 1.3)
        root = here.server.settings.recordings_dir
        empty = [root / d for d in ("tmp", "metadata", "pcaps", "streams", "unindexed")]
        # Who is told of a recording knows it a moment before who told it has tidied up.
        await until(lambda: not any(list(directory.iterdir()) for directory in empty), 2)
        assert Path(entry["path"]).is_relative_to(root / "wav")


async def test_on_demand_in_mid_call_and_stopped_and_started_again() -> None:
    async with lab() as here, here.phones({"codec": "opus"}, {"codec": "opus"}) as (a, b):
        call = Call(here.ng)
        await call.connect(a, b)
        await both_talk(a, b, 0.4)
        await call.command("start recording", metadata=encode_about(ABOUT))
        await both_talk(a, b, 1.4)
        await call.command("stop recording")
        await both_talk(a, b, 0.4)
        await call.command("start recording", metadata=encode_about(ABOUT))
        await both_talk(a, b, 1.4)
        await call.delete()
        entries = await here.manager.until_recordings(2)
        for entry in entries:
            assert entry["call"] == call.id
            assert_sides(entry, 16000, 1.2)
            assert entry["duration"] < 1.7
        assert len({entry["id"] for entry in entries}) == 2


async def test_srtp_calls_are_recorded_in_clear() -> None:
    async with lab() as here, here.phones({"secure": True}, {"secure": True}) as (a, b):
        call = Call(here.ng)
        b.take(await call.offer(a, **SRTP, **RECORD))
        a.take(await call.answer(b, **SRTP))
        await both_talk(a, b, 1.2)
        await call.delete()
        (entry,) = await here.manager.until_recordings(1)
        assert_sides(entry, 8000, 1.0)


async def test_two_codecs_and_transcoding_between_them() -> None:
    async with lab() as here, here.phones({}, {"codec": "opus"}) as (caller, callee):
        call = Call(here.ng)
        offered = await call.offer(caller, codec={"transcode": ["opus"]}, **RECORD)
        media = audio(offered)
        assert media is not None
        callee.payload_type = next(k for k, v in media.codecs.items() if v.startswith("opus"))
        callee.take(offered)
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 1.5)
        await call.delete()
        (entry,) = await here.manager.until_recordings(1)
        assert_sides(entry, 16000, 1.3)


async def test_g722_and_a_late_callee_line_up_in_time() -> None:
    options = {"codec": "G722"}
    async with lab() as here, here.phones(options, options) as (caller, callee):
        call = Call(here.ng)
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.talk, 440, 2.0)
            await trio.sleep(1.0)
            nursery.start_soon(callee.talk, 1000, 1.0)
        await trio.sleep(0.1)
        await call.delete()
        (entry,) = await here.manager.until_recordings(1)
        rate, left, right = read(entry)
        assert rate == 16000
        assert hears(left[4000:28000], rate, 440)
        assert loudness(right[: int(0.9 * rate)]) < 5
        start = int(np.argmax(np.abs(right) > 1000)) / rate
        assert abs(start - 1.0) < 0.08
        assert hears(right[int(1.15 * rate) : int(1.85 * rate)], rate, 1000)


async def test_a_call_nobody_answered_leaves_nothing() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, _):
        call = Call(here.ng)
        await call.offer(caller, **RECORD)
        await trio.sleep(0.2)
        await call.delete()
        root = here.server.settings.recordings_dir
        await until(lambda: not list((root / "pcaps").iterdir()))
        assert list((root / "failed").iterdir()) == []
        assert here.manager.recordings == {}


async def test_the_index_is_told_until_it_acknowledges() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, callee):
        here.manager.accepts = False
        call = Call(here.ng)
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 0.6)
        await call.delete()
        await until(lambda: here.manager.refused >= 2)
        here.server.kill("agent")
        here.server.start("agent")
        here.manager.accepts = True
        (entry,) = await here.manager.until_recordings(1)
        assert entry["call"] == call.id
        unindexed = here.server.settings.recordings_dir / "unindexed"
        await until(lambda: not list(unindexed.iterdir()))


async def test_the_agent_killed_in_mid_recording_loses_nothing() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, callee):
        call = Call(here.ng)
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.talk, 440, 1.6)
            nursery.start_soon(callee.talk, 1000, 1.6)
            await trio.sleep(0.5)
            here.server.kill("agent")
        await call.delete()
        here.server.start("agent")
        (entry,) = await here.manager.until_recordings(1)
        assert_sides(entry, 8000, 1.4)


async def test_rtpengine_killed_in_mid_recording_loses_little() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, callee):
        call = Call(here.ng)
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 2.0)
        here.server.kill("rtpengine")
        here.server.start("rtpengine")
        (entry,) = await here.manager.until_recordings(1)
        assert entry["call"] == call.id
        assert_sides(entry, 8000, 1.5)


async def test_rtpengine_terminated_in_mid_recording_loses_little_and_leaves_no_core() -> None:
    async with lab() as here, here.phones({}, {}) as (caller, callee):
        call = Call(here.ng)
        callee.take(await call.offer(caller, **RECORD))
        caller.take(await call.answer(callee))
        await both_talk(caller, callee, 2.0)
        pid = here.server.processes["rtpengine"].pid
        process = trio.Path(f"/proc/{pid}")
        assert int(await (process / "coredump_filter").read_text(), 16) == 0
        run_dir = here.server.settings.run_dir
        assert await (process / "cwd").readlink() == trio.Path(run_dir)
        await here.server.terminate("rtpengine")
        assert sum(core.stat().st_size for core in run_dir.glob("core*")) < 1 << 20
        here.server.start("rtpengine")
        (entry,) = await here.manager.until_recordings(1)
        assert entry["call"] == call.id
        assert_sides(entry, 8000, 1.7)


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="d") as directory:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", directory], check=True
        )
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


async def until_status(http: httpx.AsyncClient, wanted: str) -> dict[str, Any]:
    with trio.fail_after(10):
        while True:
            health: dict[str, Any] = (await http.get("/health")).json()
            if health["status"] == wanted:
                return health
            await trio.sleep(0.05)


async def test_a_full_disk_stops_recordings_and_never_calls() -> None:
    configuration = Cluster(name=CLUSTER, recording=Recording(min_free=4))
    with small_disk(16) as disk:
        async with (
            lab(recordings=disk, configuration=configuration) as here,
            here.phones({}, {}) as (caller, callee),
            here.server.client() as http,
        ):
            call = Call(here.ng)
            callee.take(await call.offer(caller, **RECORD))
            caller.take(await call.answer(callee))
            await both_talk(caller, callee, 1.0)
            filler = disk / "filler"
            filler.write_bytes(bytes(13 << 20))
            health = await until_status(http, "warning")
            assert "recording stopped" in health["problems"][0]
            assert "pbx_media_recording_stopped 1.0" in (await http.get("/metrics")).text
            before = len(callee.received)
            await both_talk(caller, callee, 1.0)
            assert len(callee.received) - before > 40, "the call goes on"
            refused = Call(here.ng)
            callee.take(await refused.offer(caller, **RECORD))
            caller.take(await refused.answer(callee))
            before = len(callee.received)
            await both_talk(caller, callee, 1.5)
            assert len(callee.received) - before > 60, "new calls too"
            assert "recording stopped" in here.server.log("agent")
            (entry,) = await here.manager.until_recordings(1)
            assert entry["call"] == call.id
            assert 0.8 < entry["duration"] < 2.5, "what was there before is kept"
            await refused.delete()
            await call.delete()
            filler.unlink()
            await until_status(http, "passing")
            again = Call(here.ng)
            callee.take(await again.offer(caller, **RECORD))
            caller.take(await again.answer(callee))
            await both_talk(caller, callee, 0.8)
            await again.delete()
            entries = await here.manager.until_recordings(2)
            assert {e["call"] for e in entries} == {call.id, again.id}


async def test_old_recordings_expire() -> None:
    configuration = Cluster(name=CLUSTER, recording=Recording(keep=30))
    async with media_server(configuration=configuration) as (server, registry):
        days = server.settings.recordings_dir / "wav"
        for day in ("2020-01-01", "2999-01-01"):
            (days / day).mkdir(parents=True)
            (days / day / "x.wav").write_bytes(b"")
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        await until(lambda: not (days / "2020-01-01").exists())
        assert (days / "2999-01-01").exists()
