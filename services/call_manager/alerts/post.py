"""Sends mail through the mail server that the spec names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from services.call_manager.state import State
from services.core.configuration import Alerts
from services.core.mail import Attachment, MailError, MailServer, compose, domain_of, send
from services.core.seal import Seal, SealError
from services.core.store import Database, StoreError, secrets

log = logging.getLogger(__name__)

SEND = 30.0
"""Seconds for sending one mail, all of it."""
PASSWORD_EVERY = 30.0
ASK = 3.0
"""Seconds for the database to say the mail server's password."""


class Post:
    """By the configuration in force at the time."""

    def __init__(self, state: State, database: Database, seal: Seal) -> None:
        self._state = state
        self._database = database
        self._seal = seal
        self._password = ""

    @property
    def configured(self) -> Alerts:
        """What the configuration in force says of alerts."""
        picture = self._state.picture
        return picture.cluster.alerts if picture is not None else Alerts()

    async def deliver(
        self,
        recipients: Sequence[str],
        subject: str,
        text: str,
        message_id: str,
        *,
        answers: str = "",
        attachments: Sequence[Attachment] = (),
    ) -> dict[str, str]:
        """Send a mail; why not, by recipient that was refused. Raises MailError.

        ``message_id`` and ``answers`` as `services.core.mail.compose` has them.
        """
        alerts = self.configured
        sender = sender_of(alerts)
        message = compose(
            sender=sender,
            recipients=recipients,
            subject=subject,
            text=text,
            message_id=message_id,
            answers=answers,
            attachments=attachments,
        )
        server = await self._server(alerts)
        return await send(server, sender, recipients, message, SEND)

    async def keep_password(self, well: Callable[[], None]) -> None:
        """Know the password before it is wanted, for ever: a mail may be about the database."""
        while True:
            await self._read_password(self.configured)
            well()
            await trio.sleep(PASSWORD_EVERY)

    async def _server(self, alerts: Alerts) -> MailServer:
        if not alerts.smtp_host:
            raise MailError("the spec names no mail server: alerts.smtp")
        await self._read_password(alerts)
        return MailServer(
            host=alerts.smtp_host,
            port=alerts.smtp_port,
            encryption=alerts.smtp_encryption,
            username=alerts.smtp_username,
            password=self._password,
            ca=alerts.smtp_ca,
        )

    async def _read_password(self, alerts: Alerts) -> None:
        """From the store; while that is away, it stays as it was read last."""
        if alerts.smtp_password is None:
            self._password = ""
            return
        name = alerts.smtp_password.secret

        def read() -> str | None:
            with self._database.read() as connection:
                return secrets.get(connection, self._seal, name)

        try:
            with trio.move_on_after(ASK):
                found = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
                self._password = found or ""
        except (StoreError, SealError) as error:
            log.warning("the mail server's password cannot be read: %s", error)


def sender_of(alerts: Alerts) -> str:
    """Who the mails are from: as the spec says, else the login if that is an address."""
    if alerts.sender:
        return alerts.sender
    if "@" in alerts.smtp_username:
        return alerts.smtp_username
    return f"pbx@{domain_of(alerts.email[0] if alerts.email else '')}"
