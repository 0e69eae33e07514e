"""A thousand calls are at one IVR server when it is gone."""

from __future__ import annotations

import logging
import signal

import msgspec
import numpy as np
import pytest
import trio

from tests.cluster.ivr_crowd import Report
from tests.cluster.ivr_fleet import IvrFleet, ivr_fleet
from tests.cluster.lab import until

log = logging.getLogger(__name__)

CALLERS = 1000
SILENCE = 3.0
"""Seconds, for every one of them."""


@pytest.mark.long
def test_a_thousand_calls_go_on() -> None:
    with ivr_fleet(capacity=CALLERS + 100) as fleet:
        report = trio.run(_fail, fleet)
    assert report.lost == 0
    assert report.moved == CALLERS
    gaps = np.array(report.gaps)
    half, most, longest = (float(np.quantile(gaps, q)) for q in (0.5, 0.99, 1))
    log.info("silence: median %.2f s, p99 %.2f s, longest %.2f s", half, most, longest)
    assert longest < SILENCE


async def _fail(fleet: IvrFleet) -> Report:
    fleet.callers.kill()
    crowd = fleet.start_caller("crowd", fleet.servers["app1"].address, str(CALLERS))

    async def up() -> bool:
        return crowd.output.read_text().startswith("up")

    await until("all at the menu", up, within=70, why=fleet.network.logs)
    await trio.sleep(2.0)
    fleet.signal("app1", signal.SIGKILL)
    await fleet.adopted("app2", CALLERS)
    await trio.sleep(SILENCE)
    crowd.signal(signal.SIGTERM)
    await crowd.wait(30)
    return msgspec.json.decode(crowd.output.read_text().splitlines()[1], type=Report)
