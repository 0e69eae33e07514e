"""The loops of the alerts: what nobody is to be mailed of costs nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio.testing

from services.call_manager.alerts.service import AlertsPart
from services.core.configuration import Alerts


@pytest.mark.parametrize("holds_vip", [True, False])
async def test_an_incident_that_nobody_is_mailed_of_lets_the_loop_rest(holds_vip: bool) -> None:
    settings: Any = SimpleNamespace(cluster="acme", server="cm1")
    vip: Any = SimpleNamespace(held=holds_vip)
    post: Any = SimpleNamespace(configured=Alerts())
    nothing: Any = None
    alerts = AlertsPart(settings, nothing, nothing, vip, nothing, post)
    alerts._made.set()  # pyright: ignore[reportPrivateUsage] # as after an incident
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alerts.send, lambda: None)
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
