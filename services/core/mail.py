"""Mail: composed so that nothing in it can become a header, sent over verified TLS."""

from __future__ import annotations

import smtplib
import socket
import ssl
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, localtime
from functools import partial

import msgspec
import trio

from services.core.configuration import Encryption

STEP = 10.0
"""Seconds for one step of the conversation: a connection, a command and its answer."""


class MailError(Exception):
    """A mail was not sent, or not to all; the message is for an operator."""


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes our mail. Without ``username`` there is no login.

    ``ca`` is PEM of authorities to trust beside the system's.
    """

    host: str
    port: int = 587
    encryption: Encryption = "starttls"
    username: str = ""
    password: str = ""
    ca: str = ""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` is a media type, as in ``audio/ogg``."""

    name: str
    kind: str
    content: bytes


def compose(
    *,
    sender: str,
    recipients: Sequence[str],
    subject: str,
    text: str,
    message_id: str,
    answers: str = "",
    attachments: Sequence[Attachment] = (),
) -> EmailMessage:
    """A mail. Line breaks and control characters become spaces in ``subject``.

    ``message_id`` and ``answers`` (the one that it follows) are what stands left of
    the @ in theirs.
    """
    domain = domain_of(sender)
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = plain(sender)
    message["To"] = ", ".join(plain(each) for each in recipients)
    message["Subject"] = plain(subject)[:200]
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = f"<{plain(message_id)}@{domain}>"
    if answers:
        message["In-Reply-To"] = message["References"] = f"<{plain(answers)}@{domain}>"
    # RFC 3834 section 5: keeps out-of-office replies away.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(plain(line) for line in text.split("\n")) + "\n")
    for one in attachments:
        main, _, sub = one.kind.partition("/")
        message.add_attachment(one.content, maintype=main, subtype=sub, filename=plain(one.name))
    return message


def plain(text: str) -> str:
    """One line of printable text: what came from outside can add no header and no line."""
    return "".join(
        " " if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") else char for char in text
    ).strip(" ")


def domain_of(address: str) -> str:
    """What stands right of the @."""
    return address.rpartition("@")[2] or "localhost"


async def send(
    server: MailServer, sender: str, recipients: Sequence[str], message: EmailMessage, within: float
) -> dict[str, str]:
    """Send a mail within ``within`` seconds; why not, by recipient that was refused.

    Raises MailError where nobody has got it, as far as is known.
    """
    conversation = _Conversation(server, sender)
    work = partial(conversation.run, list(recipients), message)
    try:
        with trio.move_on_after(within):
            return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        # A thread that was left must not go on and send what is taken for not sent.
        conversation.abort()
    raise MailError(f"{server.host}: no end within {within:g} s")


class _Conversation:
    """One connection to the mail server, in a thread that can be stopped from another."""

    def __init__(self, server: MailServer, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._aborted = False
        self._socket: socket.socket | None = None

    def abort(self) -> None:
        self._aborted = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self, recipients: list[str], message: EmailMessage) -> dict[str, str]:
        server = self._server
        try:
            client = self._open()
            try:
                refused = self._deliver(client, recipients, message)
            finally:
                # Once it was taken, it is sent, however the conversation ends.
                with suppress(smtplib.SMTPException, OSError):
                    client.quit()
                client.close()
        except smtplib.SMTPRecipientsRefused as error:
            raise MailError(_refusals(server, error.recipients)) from None
        except smtplib.SMTPAuthenticationError as error:
            raise MailError(
                f"{server.host} refuses the login of {server.username}: {_words(error)}"
            ) from None
        except smtplib.SMTPResponseException as error:
            raise MailError(f"{server.host}: {_words(error)}") from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise MailError(f"{server.host}: {_reason(error)}") from None
        return {who: _answer(*answer) for who, answer in refused.items()}

    def _deliver(
        self, client: smtplib.SMTP, recipients: list[str], message: EmailMessage
    ) -> dict[str, tuple[int, bytes]]:
        server = self._server
        self._socket = client.sock
        if server.encryption == "starttls":
            client.starttls(context=_context(server))
            self._socket = client.sock
        if server.username:
            client.login(server.username, server.password)
        if self._aborted:
            raise MailError(f"{server.host}: stopped")
        return client.send_message(message, self._sender, recipients)

    def _open(self) -> smtplib.SMTP:
        server = self._server
        # What smtplib would find by itself asks the DNS, without a time limit.
        name = domain_of(self._sender)
        if server.encryption == "tls":
            return smtplib.SMTP_SSL(
                server.host,
                server.port,
                local_hostname=name,
                timeout=STEP,
                context=_context(server),
            )
        return smtplib.SMTP(server.host, server.port, local_hostname=name, timeout=STEP)


def _context(server: MailServer) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if server.ca:
            context.load_verify_locations(cadata=server.ca)
    except ssl.SSLError as error:
        raise MailError(f"the authority for {server.host} is not PEM: {error.reason}") from None
    return context


def _answer(code: int, text: bytes | str) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return plain(f"{code} {words}")[:300]


def _words(error: smtplib.SMTPResponseException) -> str:
    return _answer(error.smtp_code, error.smtp_error)


def _refusals(server: MailServer, refused: dict[str, tuple[int, bytes]]) -> str:
    said = ", ".join(f"{who}: {_answer(*answer)}" for who, answer in refused.items())
    return f"{server.host} refuses {said}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {STEP:g} s"
    if isinstance(error, UnicodeError):
        return "its user name or password has characters that SMTP cannot say"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"{error}; encryption and login are what the spec says of it"
    strerror = error.strerror if isinstance(error, OSError) else None
    return plain(str(strerror or error or type(error).__name__))[:300]
