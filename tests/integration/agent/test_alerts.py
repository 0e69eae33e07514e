"""A media server fails, and comes back: a mail each, whatever happens to who sends them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from services.core.configuration import Cluster, Switch, encode
from tests.integration.agent.lab import CLUSTER, Lab, plain, wait_until_up
from tests.support.smtp_server import NOC, PASSWORD, SECRET, MailServer, listening, mail_server

WELL_FOR = 4
MAILED_WITHIN = 40.0
"""Seconds: two checks that fail, a patience of 1 s, 2 s of gathering, on a loaded machine."""


async def alerting(manager: Lab, mail: MailServer, **fields: Any) -> None:
    """Configure the mail server, and start a media server."""
    answer = await manager.http.put(f"/v1/secrets/{SECRET}", json={"value": PASSWORD})
    assert answer.status_code == 200
    alerts = mail.alerts(well_for=WELL_FOR, **fields)
    await manager.apply(plain() | {"cluster": Cluster(name=CLUSTER, alerts=alerts)})
    manager.start_media("ms1", 31)
    await manager.media_is(ms1="up")


async def incidents(manager: Lab) -> list[dict[str, Any]]:
    return (await manager.get("/v1/alerts"))["incidents"]


async def over(manager: Lab, end: str) -> None:
    async def so() -> bool:
        return [one["end"] for one in await incidents(manager)] == [end]

    await manager.until(so, f"the failure's end is {end!r}", within=MAILED_WITHIN)


async def test_a_failure_is_one_mail_though_its_sender_dies(manager: Lab, tmp_path: Path) -> None:
    async with mail_server(tmp_path / "mail", f"{manager.network}.5") as mail:
        await alerting(manager, mail)
        answer = await manager.http.post("/v1/alerts/test")
        assert answer.json() == {"server": "cm1", "recipients": [NOC], "refused": {}}
        (test,) = mail.mails
        assert "test" in test["Subject"]

        manager.stop("ms1 rtpengine", signal.SIGKILL)
        failed = (await mail.wait_for(2, MAILED_WITHIN))[1]
        assert failed["Subject"] == f"[{CLUSTER}] media server ms1 has failed"
        assert failed["To"] == NOC
        text = failed.get_content()
        assert "No other media server is left for new calls." in text
        assert f"pbxctl logs ms1 --cluster {CLUSTER}" in text
        assert f"pbxctl server disable ms1 --role media --cluster {CLUSTER}" in text
        (one,) = await incidents(manager)
        assert (one["key"], one["mailed"], one["ended"]) == ("server/media/ms1", True, 0)

        manager.stop("agent", signal.SIGKILL)
        manager.start("agent")
        await wait_until_up(manager)
        manager.start_again("ms1 rtpengine")
        back = (await mail.wait_for(3, MAILED_WITHIN))[2]
        assert back["Subject"] == f"[{CLUSTER}] media server ms1 is well again"
        assert back["In-Reply-To"] == failed["Message-ID"]
        assert [one["end"] for one in await incidents(manager)] == ["well"]
        # Whatever was still to come would be there now.
        await trio.sleep(2 * WELL_FOR)
        assert len(mail.mails) == 3


async def test_a_mail_that_cannot_be_sent_outlives_who_made_it(
    manager: Lab, tmp_path: Path
) -> None:
    async with mail_server(tmp_path / "mail", f"{manager.network}.5") as mail:
        await alerting(manager, mail)
        mail.refuse("451 4.3.0 come again")
        answer = await manager.http.post("/v1/alerts/test")
        assert answer.status_code == 409
        assert "451 4.3.0 come again" in answer.json()["error"]
        manager.stop("ms1 agent", signal.SIGKILL)

        async def tried() -> bool:
            mails = (await manager.get("/v1/alerts"))["mails"]
            return any("451" in one["problem"] for one in mails)

        await manager.until(tried, "a mail was refused", within=MAILED_WITHIN)
        mail.stop()
        manager.stop("agent", signal.SIGKILL)
        mail.refuse("")
        mail.start()
        await listening(mail)
        manager.start("agent")
        await wait_until_up(manager)
        (failed,) = await mail.wait_for(1, MAILED_WITHIN)
        assert "ms1 has failed" in failed["Subject"]
        manager.start_again("ms1 agent")
        (_, back) = await mail.wait_for(2, MAILED_WITHIN)
        assert "ms1 is well again" in back["Subject"]


@pytest.mark.parametrize("state", ["disabled", "draining"])
async def test_the_administrator_s_switch_makes_no_mail(
    manager: Lab, tmp_path: Path, state: str
) -> None:
    key = f"pbx/{CLUSTER}/switches/ms1/media"
    async with mail_server(tmp_path / "mail", f"{manager.network}.5") as mail:
        await alerting(manager, mail)
        await manager.registry.put(key, encode(Switch(state=state, by="anna")))  # type: ignore[arg-type] - the test's own words
        await manager.media_is(ms1=state)
        manager.stop("ms1 rtpengine", signal.SIGKILL)

        async def critical() -> bool:
            found = await manager.registry.health("media")
            return [one.status for one in found] == ["critical"]

        await manager.until(critical, "the media server's check fails")
        await trio.sleep(6)
        assert await incidents(manager) == []
        assert mail.mails == []
