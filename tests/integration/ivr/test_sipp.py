"""Many callers of a carrier's at once, by SIPp: each is taken where its keys say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.integration.ivr.conftest import menus
from tests.support.pbx import Pbx, Spec, pbx
from tests.support.sipp import sipp

SCENARIOS = Path(__file__).parent / "scenarios"
NUMBER = "+493012345670"
CALLS = 30
CODES = {"1590": "orders", "2736": "main", "4488": "named"}
"""Keys, and the menu that they lead to."""
CARRIER = 60


@pytest.fixture
def office(prompts: Path) -> Iterator[Pbx]:
    def edit(spec: Spec) -> None:
        menus(spec, prompts)
        network = spec["network"]["vip"].rpartition(".")[0]
        spec["trunks"] = {"carrier": {"peer": f"sip:{network}.{CARRIER}:5060"}}
        prompt = {"en": {"file": str(prompts / "main.wav")}}
        code = {"prompt": prompt, "into": "code", "least": 4, "most": 4}
        there = {code: {"menu": menu} for code, menu in CODES.items()}
        branch = {"by": "{code}", "is": there, "otherwise": {"hang_up": {}}}
        tenant = spec["tenants"][0]
        tenant["menus"]["code"] = {"before": [{"collect": code}, {"branch": branch}]}
        tenant["numbers"] = {NUMBER: {"menu": "code"}}

    with pbx(edit=edit) as running:
        yield running


async def ended(office: Pbx) -> list[Any]:
    """The records of all calls, once they are there."""
    found: list[Any] = []
    with trio.fail_after(20):
        while len(found) < CALLS:
            found = await office.admin("/v1/events", params={"limit": 200})
            await trio.sleep(0.2)
    return found


async def test_keys_of_many_callers_at_once(office: Pbx) -> None:
    keys = [*CODES] * (CALLS // len(CODES))
    async with sipp(
        SCENARIOS / "keys.xml",
        address=f"{office.network}.{CARRIER}",
        target=office.server().removeprefix("sip:"),
        calls=CALLS,
        rate=10,
        rows=[[each] for each in keys],
        variables={"number": NUMBER},
    ) as callers:
        await callers.succeed(60)
    found = await ended(office)
    assert len(found) == CALLS
    assert {record["code"] for record in found} == {200}
    assert {record["ended_by"] for record in found} == {"caller"}
    ways = Counter(tuple(record["way"]) for record in found)
    assert ways == Counter(("code", CODES[each]) for each in keys)
    assert await office.admin("/v1/calls") == []
