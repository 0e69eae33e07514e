"""What a phone does, against a running PBX: register, call, speak, listen, hang up, judge.

The transports are UDP, TCP and TLS. PJSIP speaks no WebSocket, so WSS is not probed here; the
project's tests check it with a real browser.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from pbxctl.probe.protocol import CODECS, Encryption, Transport
from pbxctl.probe.report import Account, Direction, ProbeError, Report, Target, Trial
from pbxctl.probe.trial import probe_transport

__all__ = [
    "TRANSPORTS",
    "Account",
    "Direction",
    "ProbeError",
    "Report",
    "Target",
    "Trial",
    "run",
]

TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")


async def run(
    target: Target,
    caller: Account,
    callee: Account,
    *,
    transports: tuple[Transport, ...] = TRANSPORTS,
    seconds: float = 4.0,
    codecs: tuple[str, ...] = CODECS,
    encryption: Encryption = "none",
    recordings: Path | None = None,
    finished: Callable[[Trial], None] = lambda _: None,
) -> Report:
    """Probe each transport in turn, with a call that lasts ``seconds``.

    What fails with one transport is in its trial's ``problems``, and the others are still tried;
    ``finished`` is called with each trial. ``recordings`` is a directory to leave in what each
    phone heard. Raises ProbeError where nothing can be tried at all.
    """
    if caller.aor == callee.aor:
        raise ProbeError(f"{caller.aor} cannot call itself: give two users")
    if seconds < 1:
        raise ProbeError(f"a call of {seconds:g} s says nothing: give at least 1")
    address = await _own_address(target)
    trials = list[Trial]()
    with tempfile.TemporaryDirectory(prefix="probe-") as temporary:
        directory = recordings or Path(temporary)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProbeError(f"{directory}: {error.strerror}") from None
        for transport in transports:
            trial = await probe_transport(
                transport,
                target,
                caller,
                callee,
                address=address,
                seconds=seconds,
                codecs=codecs,
                encryption=encryption,
                directory=directory,
            )
            trials.append(trial)
            finished(trial)
    return Report(host=target.host, caller=caller.aor, callee=callee.aor, trials=tuple(trials))


async def _own_address(target: Target) -> str:
    """The address of this machine that the PBX would see. Raises ProbeError."""
    try:
        found = await trio.socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_DGRAM, family=socket.AF_INET
        )
    except OSError as error:
        raise ProbeError(f"{target.host}: no address is known for it: {error.strerror}") from None
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as path:
        try:
            await path.connect(found[0][4])
        except OSError as error:
            raise ProbeError(f"{target.host}: no way there: {error.strerror}") from None
        return path.getsockname()[0]
