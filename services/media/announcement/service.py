"""The shell of announcements: SIP over UDP from this cluster's Call Managers, RTP to the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from urllib.parse import urlsplit

import trio

from services.core.discovery import Instance
from services.core.sip import Invitation, MalformedError, UserAgent, sdp
from services.media.announcement.player import Player
from services.media.announcement.prompts import Prompts
from services.media.announcement.wish import wish
from services.media.settings import MediaSettings
from services.media.status import State

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Callers who may hear an announcement at once."""


def trusted(instances: Iterable[Instance], own: str) -> frozenset[str]:
    """Addresses that may ask for announcements: the Call Managers', and this host's own."""
    found = {own}
    for instance in instances:
        found.add(instance.address)
        found.add(instance.meta.get("vip", ""))
        found.add(urlsplit(instance.meta.get("admin", "")).hostname or "")
    return frozenset(found - {""})


def answer(offer: str, address: str, port: int) -> tuple[str, sdp.Agreed] | None:
    """The answer by which we only send G.711; None if the offer has none, or will not hear."""
    try:
        text, agreed = sdp.answer(offer, address, port, (sdp.PCMA, sdp.PCMU), "sendonly")
    except MalformedError:
        return None
    return (text, agreed) if agreed.direction == "sendonly" else None


class Announcements:
    """Everything about announcements on one media server; `run` never returns."""

    def __init__(
        self,
        settings: MediaSettings,
        state: State,
        call_managers: Callable[[], Iterable[Instance]],
    ) -> None:
        self._settings = settings
        self._state = state
        self._call_managers = call_managers
        self._prompts = Prompts(settings.data_dir / "prompts")
        self._refused: set[str] = set()

    async def run(self) -> None:
        """Serve; where the port is taken, say so and try again: calls need no announcements."""
        while True:
            try:
                await self._serve()
            except* OSError as group:
                reason = str(group.exceptions[0])
                s = self._settings
                self._state.announcements_failed = (
                    f"no announcements: {s.address}:{s.announce_port}: {reason}"
                )
                log.warning("%s", self._state.announcements_failed)
            await trio.sleep(5)

    async def _serve(self) -> None:
        s = self._settings
        family = trio.socket.AF_INET6 if ":" in s.address else trio.socket.AF_INET
        agent = UserAgent(s.address, s.announce_port, name="announcement", trusted=self.is_trusted)
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as rtp:
            await rtp.bind((s.address, 0))
            player = Player(rtp)
            async with agent, trio.open_nursery() as nursery:
                self._state.announcements_failed = ""
                nursery.start_soon(self._prepare)
                nursery.start_soon(player.run)
                await agent.serve(partial(self._answer, player, rtp.getsockname()[1]))

    async def _answer(self, player: Player, port: int, invitation: Invitation) -> None:
        """183 with an answer, and when the announcement is over, the final response."""
        wished = wish(invitation.called, invitation.headers)
        if wished.announcement not in self._prompts.names:
            invitation.reject(404)
            return
        answered = answer(invitation.offer or "", self._settings.address, port)
        if answered is None or player.playing >= AT_ONCE:
            # The caller gets at once what the call comes to anyhow.
            invitation.reject(wished.final)
            return
        text, media = answered
        sound = self._prompts.sound(wished.announcement, wished.language)
        required = "100rel" in invitation.headers.tokens("require")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(player.play, sound, media, self.target(media.address))
                self._state.announcements = player.playing + 1
                await invitation.progress(text, reliable=required)
        finally:
            self._state.announcements = player.playing
        invitation.reject(wished.final)

    async def _prepare(self) -> None:
        # Left behind when the agent stops: it takes seconds, and every file is written at once.
        missing = await trio.to_thread.run_sync(self._prompts.prepare, abandon_on_cancel=True)
        for problem in missing:
            log.warning("announcement %s; callers hear a tone instead", problem)

    def is_trusted(self, address: str) -> bool:
        """Whether a request from this address is answered; says so once in the log if not."""
        if address in trusted(self._call_managers(), self._settings.address):
            return True
        if address not in self._refused and len(self._refused) < 1000:
            self._refused.add(address)
            log.warning("announcements: requests from %s, no Call Manager's, are dropped", address)
        return False

    def target(self, address: str) -> str:
        """Where to send what a session description wants at ``address``.

        rtpengine may have written the public address, which is on the far side of the NAT.
        """
        s = self._settings
        return s.media_address if s.public_address and address == s.public_address else address
