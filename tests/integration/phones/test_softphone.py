"""The phone's process and its owner, without any network: commands, refusals, deaths."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from pbxctl.probe import protocol
from pbxctl.probe.softphone import PhoneError, soft_phone
from tests.support.hanging import stop

START = protocol.Start(transport="udp", address="127.0.0.1", log_level=1)


async def test_a_refused_command_says_which_phone_and_why() -> None:
    with trio.fail_after(20):
        async with soft_phone("2001", START) as phone:
            with pytest.raises(PhoneError, match="2001: Hangup: there is no call 7"):
                await phone.do(protocol.Hangup(call=7))
            with pytest.raises(PhoneError, match="2001: Dial: "):
                await phone.do(protocol.Dial(uri="sip:2002@acme.example"))


async def test_a_phone_that_dies_fails_whoever_waits_for_it() -> None:
    with trio.fail_after(20):
        async with soft_phone("2001", START) as phone:
            os.kill(phone.pid, signal.SIGKILL)
            with pytest.raises(PhoneError, match="2001: the phone's process ended with status -9"):
                await phone.wait(protocol.Registered)
            with pytest.raises(PhoneError, match="ended with status -9"):
                await phone.do(protocol.Unregister())


async def test_a_phone_that_hangs_is_killed_at_the_end() -> None:
    with trio.fail_after(20):
        async with soft_phone("2001", START) as phone:
            stop(phone.pid)
        with pytest.raises(ProcessLookupError):
            os.kill(phone.pid, 0)


async def test_a_transport_that_cannot_be_had_is_an_error_in_pjsips_words() -> None:
    with trio.fail_after(20):
        with pytest.raises(PhoneError, match=r"2001: Start: .*[Aa]ssign"):
            async with soft_phone("2001", protocol.Start(transport="udp", address="203.0.113.9")):
                pass


async def test_the_owners_own_error_comes_out_as_it_is() -> None:
    with trio.fail_after(20):
        with pytest.raises(ZeroDivisionError):
            async with soft_phone("2001", START):
                raise ZeroDivisionError
