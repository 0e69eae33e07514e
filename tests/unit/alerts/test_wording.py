"""What is observed, and what a mail says of it."""

from __future__ import annotations

import msgspec

from pbxctl.alerts import Alerts
from pbxctl.alerts import Incident as Shown
from pbxctl.alerts import Mail as Letter
from pbxctl.commands.alerts import cells
from services.call_manager.alerts.incidents import FLAPS, Incident
from services.call_manager.alerts.observations import SILENT, servers, shared
from services.call_manager.alerts.post import sender_of
from services.call_manager.alerts.wording import Scene, subject, text
from services.call_manager.state import TrunkState
from services.core.configuration import Alerts as Configured
from services.core.configuration import Switch
from services.core.discovery import TROUBLE, CheckResult, Instance, Status

AT = 1_700_000_000.0
SCENE = Scene(
    cluster="acme",
    holder="cm2",
    vip="10.20.0.10",
    calls=1412,
    servers={"media": ("ms2", "ms3"), "call-manager": ("cm2", "cm3"), "database": ("cm2",)},
    loads={("media", "ms1"): 205},
    carriers={"ms1": "ms3"},
)


def instance(role: str, server: str, status: Status = "passing", *tags: str) -> Instance:
    return Instance(
        id=f"acme-{role}-{server}",
        name=role,
        node=server,
        address="",
        tags=("acme", *tags),
        meta={"cluster": "acme", "server": server},
        checks=(CheckResult(id="c", name="RTP echo", status=status, output="said"),),
    )


def incident(key: str, **fields: object) -> Incident:
    whole = {"id": "1", "since": AT, "reason": "RTP echo: no answer", "failures": (AT,)} | fields
    return Incident(key=key, **whole)  # type: ignore[arg-type] - the tests' own fields


def test_who_is_ill_is_who_does_not_answer_or_says_so() -> None:
    found = servers(
        [
            instance("media", "ms1"),
            instance("media", "ms2", "critical"),
            instance("media", "ms3", "critical"),
            instance("media", "ms4", "passing", TROUBLE),
            instance("call-manager", "cm1", "warning"),
            instance("ivr", "app1"),
        ],
        {("ivr", "app1"), ("media", "ms3")},
        {("media", "ms3"): Switch(state="disabled")},
    )
    conditions = {key: one.condition for key, one in found.items()}
    assert conditions == {
        "server/media/ms1": "well",
        "trouble/media/ms1": "well",
        "server/media/ms2": "ill",
        "trouble/media/ms2": "unknown",
        "server/media/ms3": "off",
        "trouble/media/ms3": "off",
        "server/media/ms4": "well",
        "trouble/media/ms4": "ill",
        "server/call-manager/cm1": "well",
        "trouble/call-manager/cm1": "well",
        "server/ivr/app1": "ill",
        "trouble/ivr/app1": "unknown",
    }
    assert found["server/media/ms2"].reason == "said"
    assert found["server/ivr/app1"].reason == SILENT
    assert found["trouble/media/ms4"].reason == "said"


def test_trunks_and_the_database() -> None:
    found = shared(
        {
            "a": TrunkState(registration="registered", options=200),
            "b": TrunkState(registration="registering", options_problem="no answer"),
            "c": TrunkState(options_problem="no answer"),
            "d": TrunkState(),
        },
        "database: no host can be written",
        trunk_patience=7,
    )
    ill = {key: one.reason for key, one in found.items() if one.condition == "ill"}
    assert ill == {
        "trunk/b": "not registered (registering); OPTIONS: no answer",
        "trunk/c": "does not answer OPTIONS: no answer",
        "database": "database: no host can be written",
    }
    assert found["trunk/b"].patience == 7


def test_the_mail_says_what_to_know_and_do() -> None:
    one = [incident("server/media/ms1")]
    assert subject(one, "failed", SCENE) == "[acme] media server ms1 has failed"
    assert text(one, "failed", SCENE, AT + 4) == (
        "Media server ms1: RTP echo: no answer\n"
        "Since 2023-11-14 22:13:20 UTC (4 s ago).\n"
        "\n"
        "New calls go to ms2, ms3.\n"
        "It had 205 calls.\n"
        "ms3 carries on with its calls.\n"
        "\n"
        "Cluster acme: 1,412 calls up now, VIP 10.20.0.10 on cm2.\n"
        "\n"
        "Look:\n"
        "  pbxctl status --cluster acme\n"
        "  pbxctl logs ms1 --cluster acme\n"
        "To work on it without more mails:\n"
        "  pbxctl server disable ms1 --role media --cluster acme"
    )


def test_a_host_is_one_mail() -> None:
    host = [incident(f"server/{role}/cm1") for role in ("call-manager", "database", "live", "x")]
    assert subject(host, "failed", SCENE) == (
        "[acme] Call Manager cm1, database server cm1, live state cm1 and 1 more have failed"
    )
    said = text(host, "failed", SCENE, AT)
    assert "cm2 takes the calls" in said
    assert "PostgreSQL goes on on cm2" in said
    assert said.count("pbxctl logs cm1") == 1


def test_flapping_and_its_end() -> None:
    times = tuple(AT + 60 * n for n in range(FLAPS))
    one = incident("trunk/carrier-a", since=AT + 120, failures=times)
    assert subject([one], "failed", SCENE) == "[acme] trunk carrier-a fails again and again"
    said = text([one], "failed", SCENE, AT + 130)
    assert "It has failed 3 times within 30 min" in said
    assert "pbxctl trunks --cluster acme" in said
    over = msgspec.structs.replace(
        one, since=AT, ended=AT + 3600.0, end="well", told=True, failures=times
    )
    assert subject([over], "over", SCENE) == "[acme] trunk carrier-a is well again"
    said = text([over], "over", SCENE, AT + 3600)
    assert "it failed 2 more times, last at 2023-11-14 22:15:20 UTC" in said
    left = msgspec.structs.replace(over, end="left")
    assert subject([left], "over", SCENE) == "[acme] trunk carrier-a has left"
    assert "is not part of the cluster any more, 60 min after" in text([left], "over", SCENE, AT)


def test_the_rest_of_what_can_fail() -> None:
    full = incident("trouble/media/ms1", reason="recording stopped: 900 MiB free")
    assert subject([full], "failed", SCENE) == "[acme] media server ms1 needs attention"
    assert "It stays in service" in text([full], "failed", SCENE, AT)
    database = incident("database", reason="database: no primary")
    assert subject([database], "failed", SCENE) == "[acme] the database has failed"
    assert "Calls go on" in text([database], "failed", SCENE, AT)
    alone = msgspec.structs.replace(SCENE, servers={}, holder="cm1")
    only = text([incident("server/call-manager/cm1")], "failed", alone, AT)
    assert "No other Call Manager could take over" in only
    last = text([incident("server/ivr/app1")], "failed", alone, AT)
    assert "No other IVR server is left for new calls." in last


def test_who_the_mails_are_from() -> None:
    assert sender_of(Configured(email=("noc@acme.example",))) == "pbx@acme.example"
    login = Configured(email=("noc@a.example",), smtp_username="voice@b.example")
    assert sender_of(login) == "voice@b.example"
    given = msgspec.structs.replace(login, sender="x@c.example")
    assert sender_of(given) == "x@c.example"


def test_what_status_and_the_list_show() -> None:
    one = Shown(key="server/media/ms1", name="media server ms1", since=AT, reason="no answer")
    gone = msgspec.structs.replace(one, ended=AT + 60, end="well", failures=2)
    stuck = Letter(id="1", subject="s", made=AT, attempts=3, problem="mail: 451 later")
    sent = msgspec.structs.replace(stuck, sent=AT + 1, problem="")
    assert Alerts(incidents=[one, gone], mails=[sent, stuck]).notes() == [
        "media server ms1 has failed: no answer",
        "a mail about a failure could not be sent: mail: 451 later",
    ]
    assert cells(one, AT + 120) == (
        "media server ms1", "failed", "2 min ago", "once", "no answer",
    )  # fmt: skip
    assert cells(gone, AT + 120)[1:4] == ("well again", "2 min ago", "2 times")
    assert (sent.state, stuck.state) == ("sent", "tried again: mail: 451 later")
