"""Mails messages to those whose boxes they are in: the VIP's holder does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import trio

from services.call_manager.alerts import Post
from services.call_manager.prompts import RecordedPrompts
from services.call_manager.state import State
from services.call_manager.vip import Vip
from services.call_manager.voicemail.sound import KIND
from services.core.configuration import User, Voicemail
from services.core.discovery import RegistryError
from services.core.mail import Attachment, MailError
from services.core.store import Database, StoreError, sounds, users, voicemail
from services.core.store.voicemail import Message

log = logging.getLogger(__name__)

EVERY = 1.0
EXPIRE_EVERY = 600.0
DAY = 86_400.0
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 900.0
MOST_ATTEMPTS = 200
"""Two days of them; then the mail is given up, and the message stays in the box."""


class VoicemailMails:
    """`run` never returns."""

    def __init__(
        self, state: State, database: Database, vip: Vip, post: Post, prompts: RecordedPrompts
    ) -> None:
        self._state = state
        self._database = database
        self._vip = vip
        self._post = post
        self._prompts = prompts

    async def run(self, well: Callable[[], None]) -> None:
        """Send what is due, and delete what is old."""
        expired = float("-inf")
        while True:
            if self._vip.held and self._state.picture is not None:
                try:
                    if trio.current_time() >= expired + EXPIRE_EVERY:
                        await trio.to_thread.run_sync(self._expire)
                        await self._expire_sounds()
                        expired = trio.current_time()
                    while self._post.configured.smtp_host and await self._one():
                        well()
                except StoreError as error:
                    log.debug("voicemail: %s", error)
            well()
            await trio.sleep(EVERY)

    def _expire(self) -> None:
        picture = self._state.picture
        kept = {one.name: one.voicemail.keep for one in picture.tenants} if picture else {}
        for tenant, days in kept.items():
            if days:
                with self._database.write() as connection:
                    voicemail.expire(connection, tenant, time.time(), days * DAY)

    async def _expire_sounds(self) -> None:
        """What menus have recorded; prompts that were recorded by phone stay."""
        picture = self._state.picture
        if picture is None:
            return
        try:
            heard = await self._prompts.forget_others({one.name for one in picture.tenants})
        except RegistryError as error:
            log.info("prompts: %s", error)
            return
        keep = picture.cluster.recording.keep

        def expire() -> None:
            with self._database.write() as connection:
                sounds.expire(connection, time.time() - keep * DAY, heard)

        if keep:
            await trio.to_thread.run_sync(expire)

    async def _one(self) -> bool:
        """Whether there was one."""
        claimed = await trio.to_thread.run_sync(self._claim)
        if claimed is None:
            return False
        message, sound, attempts, user = claimed
        if user is None or not user.email:
            await self._note(message, None, 0)
            return True
        problem = ""
        try:
            refused = await self._send(message, sound, user)
            problem = refused.get(user.email, "")
        except MailError as error:
            problem = str(error)
        if not problem or attempts + 1 >= MOST_ATTEMPTS:
            await self._note(message, None, 0)
        else:
            log.warning("a message's mail to %s is tried again: %s", user.email, problem)
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts, 16))
            await self._note(message, time.time() + pause, attempts + 1)
        return True

    def _claim(self) -> tuple[Message, bytes, int, User | None] | None:
        with self._database.write() as connection:
            found = voicemail.claim_mail(connection, time.time())
            if found is None:
                return None
            message, sound, attempts = found
            known = users.get(connection, message.tenant, message.extension)
            return message, sound, attempts, known[0] if known is not None else None

    async def _note(self, message: Message, again: float | None, attempts: int) -> None:
        """What came of it; until that is known, nothing else is sent."""

        def note() -> None:
            with self._database.write() as connection:
                if again is None:
                    voicemail.mailed(connection, message.id)
                else:
                    voicemail.mail_later(connection, message.id, again, attempts)

        while True:
            try:
                await trio.to_thread.run_sync(note)
            except StoreError as error:
                log.warning("voicemail: that a mail was sent cannot be noted yet: %s", error)
                await trio.sleep(EVERY)
            else:
                return

    async def _send(self, message: Message, sound: bytes, user: User) -> dict[str, str]:
        attach = self._policy(message.tenant).email == "attach"
        name = f"message-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(message.left_at))}.mp3"
        attachments = [Attachment(name=name, kind=KIND, content=sound)] if attach else []
        return await self._post.deliver(
            [user.email],
            f"Voicemail from {who(message)} ({length(message.seconds)})",
            text(message, attached=attach),
            message.id,
            attachments=attachments,
        )

    def _policy(self, tenant: str) -> Voicemail:
        picture = self._state.picture
        found = picture.tenants if picture is not None else ()
        return next((one.voicemail for one in found if one.name == tenant), Voicemail())


def who(message: Message) -> str:
    """The caller, for people."""
    if message.name and message.caller:
        return f"{message.name} <{message.caller}>"
    return message.name or message.caller or "an unknown caller"


def length(seconds: float) -> str:
    """As ``1:05``."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def text(message: Message, *, attached: bool) -> str:
    """The body of the mail."""
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(message.left_at))
    lines = [
        f"From:    {who(message)}",
        f"To:      {message.extension}",
        f"At:      {at}",
        f"Length:  {length(message.seconds)}",
        "",
        "The message is attached, and in your voicemail box."
        if attached
        else "The message is in your voicemail box.",
    ]
    return "\n".join(lines)
