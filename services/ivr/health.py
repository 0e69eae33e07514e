"""The check that does the job: a call to this server that is answered and heard."""

from __future__ import annotations

import secrets
import socket
import time

import trio

from services.core import passport
from services.core.passport import Passport
from services.core.sip import Flow, SipError, UserAgent, sdp

CHECK = "check"
"""The target of the check's own calls; no tenant is named."""
DEADLINE = 1.0
"""Seconds from the INVITE until sound is heard."""
HEARD = 3
"""Packets with sound in them."""
HEADER = 12
SILENCE = frozenset(b"\xd5\x55\xff\x7f")
"""Samples of G.711 that are silence."""


class CheckError(Exception):
    """The check failed; the message says at which step."""


class Checker:
    """A caller of its own, beside the server's user agent. Use as an async context manager."""

    def __init__(self, address: str, sip_port: int, key: bytes) -> None:
        self._address = address
        self._uri = f"sip:{CHECK}@{address}:{sip_port}"
        self._key = key
        self._agent = UserAgent(address, 0, manager=Flow("udp", address, sip_port), name=CHECK)

    async def __aenter__(self) -> Checker:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        self._socket = trio.socket.socket(family, socket.SOCK_DGRAM)
        await self._socket.bind((self._address, 0))
        await self._agent.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._socket.close()
        await self._agent.__aexit__(None, None, None)

    async def check(self) -> float:
        """Seconds from the INVITE until its answer's sound was heard. Raises CheckError."""
        step = "no answer to INVITE"
        began = trio.current_time()
        port = self._socket.getsockname()[1]
        call_id = f"{CHECK}-{secrets.token_hex(8)}@{self._address}"
        ticket = Passport(tenant="", kind="announcement", target=CHECK)
        value = passport.seal(self._key, "serve", call_id, ticket, time.time())
        try:
            with trio.fail_after(DEADLINE):
                async with self._agent.dial(
                    self._uri,
                    sdp.offer(self._address, port, (sdp.PCMA,)),
                    call_id=call_id,
                    headers=[(passport.HEADER, value)],
                ) as call:
                    step = "its call is answered and nothing is heard"
                    await self._hear(call.remote_sdp)
                    return trio.current_time() - began
        except trio.TooSlowError:
            raise CheckError(f"{step} within {DEADLINE:g} s") from None
        except (SipError, OSError) as error:
            raise CheckError(f"INVITE: {error}") from None
        raise CheckError("its call was hung up at once")

    async def _hear(self, answer: str) -> None:
        """Until some packets with sound have come from where the answer says."""
        audio = sdp.audio(answer)
        heard = 0
        while heard < HEARD:
            data, source = await self._socket.recvfrom(2048)
            ours = audio is not None and source[:2] == (audio.address, audio.port)
            if ours and len(data) > HEADER and not SILENCE.issuperset(data[HEADER:]):
                heard += 1
