"""What calls over a take-over do, said once: for tests of a `Signalling` cluster."""

from __future__ import annotations

import time

from tests.cluster.lab import Host
from tests.cluster.signalling import Signalling
from tests.integration.calls.party import Call, Party, sdp

HOLD = "a=sendonly\r\n"


def end(one: Call, other: Call) -> None:
    """A BYE, end to end, once."""
    one.say("BYE")
    bye = other.party.expect("BYE")
    other.party.reply(bye, 200)
    one.expect_final("BYE", 200)
    one.party.silent("BYE")
    other.party.silent("BYE", 0.1)


def over(calls: Signalling, call_id: str, **expected: object) -> None:
    """One record, no counter left, and it stays so when the dead one is back."""
    calls.one_record(call_id, **expected)
    calls.idle()
    calls.bring_back()
    calls.one_record(call_id, **expected)
    calls.idle()


def negotiate(one: Call, other: Call, version: int, extra: str = "") -> None:
    """A re-INVITE through the media server, with its answer and ACK."""
    one.say("INVITE", sdp(one.party.address, 40000, extra=extra, version=version))
    again = other.party.expect("INVITE")
    assert again.port not in (0, 40000)
    other.party.reply(again, 200, sdp(other.party.address, 42000))
    assert one.expect_final("INVITE", 200).port not in (0, 42000)
    one.ack()
    other.party.expect("ACK")


def ringing(calls: Signalling) -> tuple[Call, Call]:
    """2001 calls 2002, and every Call Manager knows that it rings."""
    return rings(calls, calls.phone("2001"), calls.phone("2002"))


def taken_up(calls: Signalling, call: Call) -> None:
    """Wait until the new holder has the call's transaction."""
    calls.wait(
        lambda: (calls.rpc(holder(calls), "dlg.dlg_list", call.call_id) or None) is not None,
        "the call to be taken up",
    )


def another_second(calls: Signalling) -> None:
    """Registrations are dated by the second, and no VIP moves twice within one."""
    began = int(time.time())
    calls.wait(lambda: int(time.time()) > began, "the next second")


def answer(out: Call, into: Call) -> None:
    into.reply(200, sdp(into.party.address, 42000))
    out.expect(200)
    out.ack()
    into.party.expect("ACK")


def holder(calls: Signalling) -> Host:
    assert calls.holder
    return calls.holder


def rings(calls: Signalling, caller: Party, callee: Party) -> tuple[Call, Call]:
    """The same between any two."""
    out = caller.call(callee.extension)
    into = callee.invited()
    into.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    return out, into


def moved(calls: Signalling, host: Host) -> None:
    """The VIP goes to a host while the last one lives."""
    another_second(calls)
    calls.give_up()
    calls.take(host)
    calls.wait(lambda: calls.table(host, "cluster").get("term"), "the new holder")
