"""The death of the VIP's holder, with calls up in every state and over every transport at once.

What each state needs is in test_signalling.py and its neighbours; this one is short and always run.
"""

from __future__ import annotations

from tests.cluster.signalling import Signalling
from tests.cluster.signalling_documents import USERS
from tests.cluster.states import HOLD, answer, end, holder, negotiate, rings, taken_up
from tests.integration.calls.party import Call, Party, connect

TRANSPORTS = ("udp", "tcp", "tls", "wss")
CALLERS = ("tcp", "tls")
"""Whose own INVITE that rings is answered on their next connection: decision 0009."""


def test_calls_in_every_state_go_on(calls: Signalling) -> None:
    names = iter(USERS)
    parties: list[Party] = []

    def phone(over: str) -> Party:
        parties.append(calls.phone(next(names), over=over))
        return parties[-1]

    talking, held, ringing = list[tuple[Call, Call]](), list[tuple[Call, Call]](), []
    for over in TRANSPORTS:
        talking.append(connect(phone(over), phone(over)))
        held.append(connect(phone(over), phone(over)))
        negotiate(held[-1][1], held[-1][0], 2, HOLD)
        ringing.append(rings(calls, phone("udp"), phone(over)))
    ringing += [rings(calls, phone(over), phone("udp")) for over in CALLERS]
    for out, _ in talking + held:
        calls.known(out.call_id)
    calls.fail_over()
    for party in parties:
        if party.connection.transport != "UDP":
            calls.reconnect(party)
    for out, into in ringing:
        taken_up(calls, out)
        answer(out, into)
    for out, into in held:
        negotiate(into, out, 3)
    every = [*talking, *held, *ringing]
    calls.wait(lambda: calls.counters(holder(calls)).get("all") == len(every), "all to be counted")
    ended: dict[str, str] = {}
    for number, (out, into) in enumerate(every):
        one, other = (out, into) if number % 2 else (into, out)
        end(one, other)
        ended[out.call_id] = "caller" if number % 2 else "callee"
    for call_id, by in ended.items():
        calls.one_record(call_id, code=200, ended_by=by)
    calls.idle()
    calls.bring_back()
    for call_id in ended:
        calls.one_record(call_id, code=200)
    calls.idle()
