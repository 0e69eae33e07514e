"""Mail through a real server: encrypted, authenticated, and told apart when it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from services.core.mail import Attachment, MailError, MailServer, compose, send
from tests.support import smtp_server
from tests.support.hosts import loopback_network
from tests.support.smtp_server import PASSWORD, USERNAME, mail_server

SENDER = "pbx@acme.example"
NOC = "noc@acme.example"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[smtp_server.MailServer]:
    with loopback_network() as network:
        async with mail_server(tmp_path / "mail", f"{network}.5") as found:
            yield found


def client(server: smtp_server.MailServer) -> MailServer:
    return MailServer(
        host=server.address,
        port=server.port,
        username=USERNAME,
        password=PASSWORD,
        ca=server.ca,
    )


async def deliver(
    server: MailServer,
    *recipients: str,
    within: float = 20.0,
    subject: str = "ms1 has failed",
    text: str = "It has.",
    message_id: str = "one",
) -> dict[str, str]:
    message = compose(
        sender=SENDER, recipients=recipients, subject=subject, text=text, message_id=message_id
    )
    return await send(server, SENDER, recipients, message, within)


async def test_a_mail_arrives(server: smtp_server.MailServer) -> None:
    sound = Attachment(name="message.wav", kind="audio/wav", content=bytes(range(256)))
    message = compose(
        sender=SENDER,
        recipients=[NOC, "anna@acme.example"],
        subject="Störung: ms1",
        text="Ein Satz, grüßend.\n.\nEnde",
        message_id="two",
        answers="one",
        attachments=[sound],
    )
    assert await send(client(server), SENDER, [NOC, "anna@acme.example"], message, 20) == {}
    (mail,) = server.mails
    assert mail["Subject"] == "Störung: ms1"
    assert mail["From"] == SENDER
    assert mail["Message-ID"] == "<two@acme.example>"
    assert mail["In-Reply-To"] == mail["References"] == "<one@acme.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert server.recipients == [[NOC, "anna@acme.example"]]
    body, attached = mail.iter_parts()
    assert body.get_content().splitlines() == ["Ein Satz, grüßend.", ".", "Ende"]
    assert attached.get_content() == bytes(range(256))
    assert attached.get_filename() == "message.wav"


async def test_nothing_from_outside_becomes_a_header(server: smtp_server.MailServer) -> None:
    subject = "ms1\r\nBcc: everybody@acme.example\r\n\r\nfree\u2028text\x00"
    await deliver(
        client(server), NOC, subject=subject, message_id="a\r\nX: y", text="\r\n.\r\nQUIT"
    )
    (mail,) = server.mails
    assert mail["Bcc"] is None
    assert mail["X"] is None
    assert "Bcc: everybody" in mail["Subject"]
    assert mail.get_content().split() == [".", "QUIT"]


async def test_who_is_refused_is_told_apart(server: smtp_server.MailServer) -> None:
    refused = await deliver(client(server), NOC, "nobody@acme.example")
    assert refused == {"nobody@acme.example": "550 5.1.1 no such mailbox"}
    assert server.recipients == [[NOC]]
    with pytest.raises(MailError, match=r"nobody@acme\.example: 550 5\.1\.1 no such mailbox"):
        await deliver(client(server), "nobody@acme.example")


async def test_why_not(server: smtp_server.MailServer) -> None:
    good = client(server)
    wrong = msgspec.structs.replace(good, password="guessed")
    with pytest.raises(MailError, match=r"refuses the login of pbx: 535"):
        await deliver(wrong, NOC)
    unknown = msgspec.structs.replace(good, ca="")
    with pytest.raises(MailError, match=r"its certificate is not valid: .*issuer certificate"):
        await deliver(unknown, NOC)
    plain = msgspec.structs.replace(good, encryption="none")
    with pytest.raises(MailError):
        await deliver(plain, NOC)
    tls = msgspec.structs.replace(good, encryption="tls")
    with pytest.raises(MailError, match=server.address):
        await deliver(tls, NOC)
    server.refuse("451 4.3.0 come again")
    with pytest.raises(MailError, match=r"451 4\.3\.0 come again"):
        await deliver(good, NOC)
    server.stop()
    with pytest.raises(MailError, match="refused"):
        await deliver(good, NOC)
    assert server.mails == []


async def test_a_server_that_is_silent_is_left(server: smtp_server.MailServer) -> None:
    server.refuse("silence")
    began = trio.current_time()
    with pytest.raises(MailError, match="no end within 1 s"):
        await deliver(client(server), NOC, within=1.0)
    assert trio.current_time() < began + 5
    server.refuse("")
    assert await deliver(client(server), NOC, message_id="other") == {}
    assert [mail["Message-ID"] for mail in server.mails] == ["<other@acme.example>"]
