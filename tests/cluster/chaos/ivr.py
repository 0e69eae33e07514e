"""An IVR server fails while callers hear its prompts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import trio

from tests.cluster.chaos.figures import Outcome, Trial
from tests.cluster.lab import Host
from tests.cluster.menus import FRAME, SERVERS, Listening, Menus
from tests.integration.calls.party import Call, Party, sdp

CALLERS = 4
MEND = 90.0
HEARD = 1.0
"""Seconds of a prompt before a server fails."""
AFTER = 2.0
"""Seconds in which the longest silence must have ended."""
SETTLED = 6.0
"""Seconds after which a server that is back counts as up, for others too."""
KIND = "at a menu, UDP"
Mend = Callable[[], object]


def _off(made: Menus, host: Host) -> Mend:
    host.power_off()

    def mend() -> None:
        host.power_on()
        made.start_server(host)

    return mend


def _killed(made: Menus, host: Host) -> Mend:
    os.kill(made.pid(host), signal.SIGKILL)
    return lambda: made.start_server(host)


def _hung(made: Menus, host: Host) -> Mend:
    pid = made.pid(host)
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


FAILURES: dict[str, Callable[[Menus, Host], Mend]] = {
    "IVR host off": _off,
    "IVR server killed": _killed,
    "IVR server hung": _hung,
}


class Trials:
    """A cluster on which IVR servers fail, in turn."""

    def __init__(self, made: Menus) -> None:
        self.made = made
        self._phones = [made.phone(str(2001 + n)) for n in range(CALLERS)]
        self._turn = 0

    async def trial(self, what: str) -> list[Trial]:
        """One failure, and all well again."""
        return [await trio.to_thread.run_sync(self._trial, what)]

    async def mend(self) -> None:
        """After a trial that broke off: both servers run."""
        await trio.to_thread.run_sync(self._mend)

    def _mend(self) -> None:
        made = self.made
        made.forget_calls()
        for host in made.servers:
            if not host.on:
                host.power_on()
            with suppress(AssertionError):
                os.kill(made.pid(host), signal.SIGKILL)
            made.start_server(host)
        made.until_states("up", "up", within=MEND)
        time.sleep(SETTLED)

    def _trial(self, what: str) -> Trial:
        made = self.made
        made.until_states("up", "up", within=MEND)
        self._turn += 1
        host = made.servers[self._turn % len(SERVERS)]
        with ExitStack() as stack:
            ears = [stack.enter_context(Listening(made.outside, p)) for p in self._phones]
            calls = [made.call(phone) for phone in self._phones]
            there = [call for call in calls if _is_at(call, host)]
            time.sleep(HEARD)
            began = time.monotonic()
            mend = FAILURES[what](made, host)
            try:
                lost = {call.call_id: _moved(call) for call in there}
                time.sleep(AFTER)
                gaps = [ear.gap(began) for ear in ears]
            finally:
                mend()
            outcomes = [
                self._end(call, lost.get(call.call_id, ""), gap)
                for call, gap in zip(calls, gaps, strict=True)
            ]
        # It is back in service only when it has been well for a while.
        made.wait(lambda: not made.loads()[host.name], "its calls to be elsewhere")
        time.sleep(SETTLED)
        return Trial(failure=what, gap=max(gaps) - FRAME, doubled=0.0, calls=tuple(outcomes))

    def _end(self, call: Call, lost: str, gap: float) -> Outcome:
        if not lost and gap >= AFTER:
            lost = "silence"
        try:
            call.hang_up()
        except AssertionError as error:
            lost = lost or str(error).partition("\n")[0]
        records = self.made.wait(lambda: self.made.records(call.call_id), "a record")
        return Outcome(kind=KIND, lost=lost, records=len(records))


def _is_at(call: Call, host: Host) -> bool:
    assert call.dialog is not None
    return f"sip:{host.name}@" in call.dialog.target


def _moved(call: Call) -> str:
    """Another server has said that it goes on with a call; why not."""
    phone: Party = call.party
    try:
        invite = phone.expect("INVITE", call_id=call.call_id)
        call.reply(200, sdp(phone.address, version=2), to=invite)
        phone.expect("ACK", call_id=call.call_id)
    except AssertionError as error:
        return str(error).partition("\n")[0]
    assert call.dialog is not None
    call.dialog.target = invite.contact
    return ""
