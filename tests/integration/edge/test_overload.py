"""More calls than there is room for: some are refused, those that are up go on."""

from __future__ import annotations

import re
from contextlib import ExitStack

from services.core.configuration import RateLimit, Security
from tests.integration.edge.conftest import Dial
from tests.integration.edge.hostile import call, options
from tests.support.hanging import hung
from tests.support.kamailio import CallManager


def test_capacity_refuses_new_calls_only(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(), max_calls=5)
    manager.rpc("htable.seti", "calls", "all", 5)
    handset = phone()
    answer = call(handset)
    assert answer.code == 503
    assert 5 <= int(answer.get("Retry-After")) <= 15
    assert handset.register().code == 200
    manager.rpc("htable.seti", "calls", "all", 4)
    assert call(handset).code != 503


def test_calls_a_second(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(rate=RateLimit(calls=2)))
    handset = phone()
    codes = [call(handset).code for _ in range(8)]
    assert codes[0] != 503
    assert 503 in codes
    assert handset.register().code == 200


def test_workers_that_fall_behind_shed_new_calls(manager: CallManager, phone: Dial) -> None:
    manager.rpc("htable.setxs", "overload", "shed", "95", 60)
    handset = phone()
    refused = [call(phone(port="0")).code == 503 for _ in range(10)]
    assert sum(refused) >= 6
    assert handset.register().code == 200


def test_a_receive_queue_that_stands_sheds_calls(manager: CallManager, phone: Dial) -> None:
    """The workers are stopped for a moment, and the timer process sees the queue stand."""
    workers = [
        process["PID"]
        for process in manager.rpc("core.psx")
        if process["DSC"].startswith("udp receiver")
    ]
    flood = phone("1001", host=4)

    def shed() -> str:
        found = manager.rpc("htable.get", "overload", "shed")
        return str(found["item"]["value"]) if found else ""

    with ExitStack() as stopped:
        for worker in workers:
            stopped.enter_context(hung(worker))
        for _ in range(200):
            flood.connection.send(options(flood, f"X-Padding: {'x' * 1000}\r\n"))
        manager.wait_for(lambda: shed() not in ("", "0"), "calls to be shed", 5)
    manager.wait_for(lambda: not shed(), "the shedding to end", 12)
    assert re.search(r"overload: refusing [1-9]\d* % of new calls", manager.log())
    assert "overload: refusing 0 % of new calls" in manager.log()
