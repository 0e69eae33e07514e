"""Callers of menus in a whole cluster, while IVR servers fail and are taken out of service."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.message import EmailMessage

import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from tests.cluster.measure import Lateness
from tests.cluster.menus import (
    CALLEE,
    MAIN,
    PROMPT,
    RATE,
    SECONDS,
    SERVERS,
    WELL_FOR,
    WITH_KEYS,
    Listening,
    Menus,
    menus,
)
from tests.cluster.signalling_documents import CLUSTER
from tests.cluster.test_ivr_failover import goes_on
from tests.integration.calls.party import Party, sdp

log = logging.getLogger(__name__)

NEW_CALLS, NEW_EVERY = 15, 0.1
ANSWERED = 3.0
"""Seconds in which the last of them is answered."""
STARTING = 80.0
"""Seconds in which a failure is mailed; more than the minute after a start in which none is."""
SETTLED = 6.0
"""Seconds after which a server that is back takes calls again, and inherits."""


@pytest.fixture(scope="module")
def made() -> Iterator[Menus]:
    with menus() as running:
        yield running
        assert not running.failures()


@pytest.fixture
def ivr(made: Menus) -> Iterator[Menus]:
    """With both servers up and nobody calling."""
    yield made
    for host in made.managers:
        if not host.on:
            host.power_on()
    for host in made.servers:
        if not host.on:
            host.power_on()
            made.start_server(host)
    made.until_states("up", "up")
    made.hang_up_all()
    time.sleep(SETTLED)


def test_calls_are_spread_and_a_prompt_goes_on_where_a_host_dies(ivr: Menus) -> None:
    alice, bob = ivr.phone("2001"), ivr.phone("2002")
    with Listening(ivr.outside, alice) as ears:
        out = ivr.call(alice)
        ivr.wait(lambda: sum(ivr.loads().values()) == 1, "the call to be counted")
        first = next(name for name, calls in ivr.loads().items() if calls)
        other = next(name for name in SERVERS if name != first)
        also = ivr.call(bob)
        ivr.wait(lambda: ivr.loads() == {first: 1, other: 1}, "the calls to be spread")
        time.sleep(2.5)
        ivr.network[first].power_off()
        # The other one tells the phone where it is.
        invite = alice.expect("INVITE")
        out.reply(200, sdp(alice.address, version=2), to=invite)
        alice.expect("ACK")
        assert out.dialog is not None
        out.dialog.target = invite.contact
        time.sleep(SECONDS + 1.0)
        out.say("BYE")
        alice.expect_reply("BYE", 200)
    goes_on(ears.sound(), "host powered off, through the Call Manager")
    record = ivr.one_record(out.call_id, code=200, ended_by="caller")
    assert record["way"] == ["main"]
    also.hang_up()
    ivr.one_record(also.call_id, code=200)
    ivr.idle()


def test_new_calls_are_answered_while_a_host_dies(ivr: Menus) -> None:
    phones = [ivr.phone(str(2001 + n)) for n in range(NEW_CALLS)]
    took: list[float] = []

    def call(phone: Party) -> None:
        began = time.monotonic()
        out = ivr.call(phone)
        took.append(time.monotonic() - began)
        time.sleep(1.0)
        out.hang_up()

    with Lateness() as late, ThreadPoolExecutor(NEW_CALLS) as pool:
        ivr.network[SERVERS[0]].power_off()
        calls: list[Future[None]] = []
        for phone in phones:
            calls.append(pool.submit(call, phone))
            time.sleep(NEW_EVERY)
        for each in calls:
            each.result()
    log.info("calls while an IVR server dies: answered after %s s", [f"{s:.2f}" for s in took])
    assert max(took) < ANSWERED + late.total
    assert np.median(took) < 0.5 + late.total
    ivr.idle()


def test_administrators_are_mailed_once_by_three_managers(ivr: Menus) -> None:
    # Early here: who fails three times in half an hour counts as unsteady, and not as well so soon.
    def of_a2() -> list[EmailMessage]:
        return [mail for mail in ivr.mail.mails if " a2 " in mail["Subject"]]

    def open_failures() -> bool:
        assert ivr.holder
        found = ivr.api(ivr.holder, "/v1/alerts")
        return found is None or any(not one["ended"] for one in found["incidents"])

    ivr.wait(lambda: not open_failures(), "earlier failures to be over")
    before = len(of_a2())
    ivr.network["a2"].power_off()
    ivr.wait(lambda: len(of_a2()) > before, "a mail", STARTING)
    # Who takes over from the sender knows what has been sent.
    assert ivr.holder
    dead = ivr.holder
    dead.power_off()
    ivr.network["a2"].power_on()
    ivr.start_server(ivr.network["a2"])
    ivr.wait(lambda: len(of_a2()) > before + 1, "a mail that it is well", 60)
    dead.power_on()
    ivr.holder = trio.run(ivr.view.ready)
    time.sleep(2 * WELL_FOR)
    failed, well = of_a2()[before:]
    assert failed["Subject"] == f"[{CLUSTER}] IVR server a2 has failed"
    assert well["Subject"] == f"[{CLUSTER}] IVR server a2 is well again"
    assert well["In-Reply-To"] == failed["Message-ID"]


def test_a_key_that_is_pressed_while_nobody_has_the_call_is_heard(ivr: Menus) -> None:
    alice = ivr.phone("2001")
    with Listening(ivr.outside, alice) as ears:
        out, answer = ivr.call_with_answer(alice)
        ivr.wait(lambda: sum(ivr.loads().values()) == 1, "the call to be counted")
        first = next(name for name, calls in ivr.loads().items() if calls)
        time.sleep(1.0)
        ivr.network[first].power_off()
        ears.press(1, out, answer)
        invite = alice.expect("INVITE")
        out.reply(200, sdp(alice.address, formats=WITH_KEYS, version=2), to=invite)
        alice.expect("ACK")
        out.party.reply(alice.expect("BYE"), 200)
    ivr.one_record(out.call_id, code=200, ended_by="callee")
    ivr.idle()


def test_a_phone_that_rings_is_rung_again(ivr: Menus) -> None:
    alice, carol = ivr.phone("2001"), ivr.phone(CALLEE)
    with Listening(ivr.outside, alice) as ears:
        out, answer = ivr.call_with_answer(alice)
        ivr.wait(lambda: sum(ivr.loads().values()) == 1, "the call to be counted")
        first = next(name for name, calls in ivr.loads().items() if calls)
        ears.press(2, out, answer)
        rang = carol.invited()
        rang.reply(180)
        time.sleep(0.5)
        ivr.network[first].power_off()
        taken = alice.expect("INVITE")
        out.reply(200, sdp(alice.address, formats=WITH_KEYS, version=2), to=taken)
        alice.expect("ACK")
        # Nobody could hear that she answers the first one.
        carol.reply(carol.expect("CANCEL", call_id=rang.call_id), 200)
        rang.reply(487)
        into = carol.invited()
        assert into.call_id != rang.call_id
        into.reply(180)
        into.reply(200, sdp(carol.address, 42000))
        carol.expect("ACK", call_id=into.call_id)
        joined = alice.expect("INVITE")
        out.reply(200, sdp(alice.address, formats=WITH_KEYS, version=3), to=joined)
        alice.expect("ACK")
    assert out.dialog is not None
    out.dialog.target = joined.contact
    out.hang_up()
    carol.reply(carol.expect("BYE"), 200)
    ivr.one_record(out.call_id, code=200, ended_by="caller")
    ivr.one_record(into.call_id, code=200)
    ivr.one_record(rang.call_id)
    ivr.idle()


def test_a_caller_who_hangs_up_while_nobody_has_the_call(ivr: Menus) -> None:
    alice = ivr.phone("2001")
    out = ivr.call(alice)
    ivr.wait(lambda: sum(ivr.loads().values()) == 1, "the call to be counted")
    first = next(name for name, calls in ivr.loads().items() if calls)
    # A call of a few milliseconds is written down nowhere yet.
    time.sleep(1.0)
    ivr.network[first].power_off()
    out.say("BYE")
    # Who takes the call over hears of it from the phone, or from the BYE that was tried again.
    invite = alice.expect("INVITE")
    out.reply(481, to=invite)
    final = alice.wait(lambda m: m.code >= 200 and m.get("CSeq").endswith("BYE"), "BYE's answer")
    assert final.code in (200, 481)
    ivr.one_record(out.call_id, ended_by="caller")
    ivr.idle()


def test_a_caller_from_outside_hears_the_menu(ivr: Menus) -> None:
    carrier = ivr.carrier()
    with Listening(ivr.outside, carrier) as ears:
        uri = f"sip:+4930100{MAIN}@{ivr.vip}"
        out = carrier.call(uri, sdp(carrier.address), plain="1")
        out.expect(200)
        out.ack()
        time.sleep(3.0)
        out.hang_up()
    hears_the_prompt(ears)
    record = ivr.one_record(out.call_id, code=200, ended_by="caller")
    assert (record["direction"], record["trunk"], record["way"]) == ("inbound", "udp", ["main"])
    ivr.idle()


def test_a_caller_without_an_offer_hears_the_menu(ivr: Menus) -> None:
    alice = ivr.phone("2001")
    with Listening(ivr.outside, alice) as ears:
        out = alice.call(MAIN, "")
        assert "m=audio" in out.expect(200).body
        out.ack(sdp(alice.address, formats="8"))
        time.sleep(3.0)
        out.hang_up()
    hears_the_prompt(ears)
    ivr.one_record(out.call_id, code=200, ended_by="caller")
    ivr.idle()


def hears_the_prompt(ears: Listening) -> None:
    found = audio.judge(ears.sound(), RATE, PROMPT)
    assert found.duration > 2.0
    assert found.likeness > 0.7


def test_a_server_that_is_disabled_keeps_its_calls_and_gets_no_more(ivr: Menus) -> None:
    alice = ivr.phone("2001")
    out = ivr.call(alice)
    ivr.wait(lambda: sum(ivr.loads().values()) == 1, "the call to be counted")
    first = next(name for name, calls in ivr.loads().items() if calls)
    other = next(name for name in SERVERS if name != first)
    ivr.switch(first, "disabled")
    more = [ivr.call(ivr.phone(str(2002 + n))) for n in range(3)]
    ivr.wait(lambda: ivr.loads() == {first: 1, other: 3}, "the calls to be elsewhere")
    for call in (out, *more):
        call.hang_up()
    ivr.switch(first, "enabled")
    ivr.idle()
