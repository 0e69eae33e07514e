"""A thousand calls are at one IVR server when it is gone."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import trio

from tests.cluster.ivr_crowd import Report
from tests.cluster.ivr_fleet import IvrFleet, ivr_fleet
from tests.cluster.lab import Process, until
from tests.cluster.menus import MAIN, SERVERS, Crowded, Menus, menus
from tests.cluster.signalling import CARRIERS, ROOT

log = logging.getLogger(__name__)

CALLERS = 1000
LISTENERS = 200
"""Of those who come through a Call Manager: their sound goes through one rtpengine without its
kernel module, on the two cores that all share; the others have put the menu on hold."""
PACE = 0.03
"""Seconds between two of their calls: as fast as a cluster whose hosts share two cores sets up."""
SILENCE = 3.0
"""Seconds, for every one of them."""


@pytest.mark.long
def test_a_thousand_calls_go_on() -> None:
    with ivr_fleet(capacity=CALLERS + 100) as fleet:
        report = trio.run(_fail, fleet)
    _judge(report)


async def _fail(fleet: IvrFleet) -> Report:
    fleet.callers.kill()
    uri = f"sip:main@{fleet.servers['app1'].address}:5070"
    crowd = fleet.start_caller("crowd", uri, str(CALLERS), "--direct")
    await _up(crowd, fleet.network.logs)
    await trio.sleep(2.0)
    fleet.signal("app1", signal.SIGKILL)
    await fleet.adopted("app2", CALLERS)
    await trio.sleep(SILENCE)
    return await _report(crowd)


@pytest.mark.long
def test_a_thousand_calls_through_a_call_manager_go_on() -> None:
    with menus(Crowded) as made:
        report = trio.run(_fail_behind_managers, made)
    _judge(report)


async def _fail_behind_managers(made: Menus) -> Report:
    def moved() -> bool:
        return made.loads()[SERVERS[1]] == CALLERS

    words = ["-m", "tests.cluster.ivr_crowd", made.outside_at(CARRIERS["udp"])]
    words += [f"sip:+4930100{MAIN}@{made.vip}", str(CALLERS)]
    words += ["--listeners", str(LISTENERS), "--pace", str(PACE)]
    await trio.to_thread.run_sync(made.switch, SERVERS[1], "disabled")
    crowd = made.outside.start(
        [sys.executable, *words], env={"PYTHONPATH": str(ROOT)}, name="crowd"
    )
    await _up(crowd, made.network.logs)
    await trio.to_thread.run_sync(made.switch, SERVERS[1], "enabled")
    await trio.sleep(2.0)
    os.kill(made.pid(made.servers[0]), signal.SIGKILL)
    await trio.to_thread.run_sync(made.wait, moved, "its calls to be elsewhere")
    await trio.sleep(SILENCE)
    return await _report(crowd)


async def _up(crowd: Process, why: Callable[[], str]) -> None:
    async def up() -> bool:
        await trio.lowlevel.checkpoint()
        return crowd.output.read_text().startswith("up")

    await until("all at the menu", up, within=120, why=why)


async def _report(crowd: Process) -> Report:
    crowd.signal(signal.SIGTERM)
    await crowd.wait(30)
    return msgspec.json.decode(crowd.output.read_text().splitlines()[1], type=Report)


def _judge(report: Report) -> None:
    gaps = np.array(report.gaps)
    half, most, longest = (float(np.quantile(gaps, q)) for q in (0.5, 0.99, 1))
    log.info("silence: median %.2f s, p99 %.2f s, longest %.2f s", half, most, longest)
    assert report.lost == 0
    assert report.moved == CALLERS
    assert longest < SILENCE
