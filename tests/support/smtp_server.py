"""A real mail server in a process of its own: aiosmtpd with STARTTLS and AUTH, mails as files.

``python -m tests.support.smtp_server DIRECTORY ADDRESS PORT`` serves until it is told to stop.
`mail_server` makes certificates, starts it, and reads what came.
"""

from __future__ import annotations

import asyncio
import datetime
import email
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.core.configuration import Alerts, SecretRef

USERNAME = "pbx"
PASSWORD = "correct horse"
SECRET = "alerts.smtp.password"
"""The name that `MailServer.alerts` has for the password."""
NOC = "noc@acme.example"
STRANGER = "nobody@"
"""Begins the addresses that it refuses."""


class MailServer:
    """Where it listens; ``mails`` are what it took, oldest first."""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        self.directory = directory
        self.address = address
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def ca(self) -> str:
        """PEM of who signed its certificate."""
        return (self.directory / "ca.pem").read_text()

    @property
    def mails(self) -> list[EmailMessage]:
        files = sorted(self.directory.glob("*.eml"))
        return [email.message_from_bytes(f.read_bytes(), policy=default) for f in files]

    @property
    def recipients(self) -> list[list[str]]:
        """Of each mail, the envelope's."""
        return [f.read_text().split() for f in sorted(self.directory.glob("*.to"))]

    def alerts(self, **fields: Any) -> Alerts:
        """The settings with which administrators are mailed through it."""
        return Alerts(
            email=(NOC,),
            smtp_host=self.address,
            smtp_port=self.port,
            smtp_username=USERNAME,
            smtp_password=SecretRef(secret=SECRET),
            smtp_ca=self.ca,
            **fields,
        )

    def refuse(self, answer: str) -> None:
        """Answer DATA with this from now on; "" takes mails again."""
        (self.directory / "answer").write_text(answer)

    @property
    def command(self) -> list[str]:
        """What runs it."""
        where = (str(self.directory), self.address, str(self.port))
        return [sys.executable, "-m", "tests.support.smtp_server", *where]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, cwd=Path(__file__).parents[2])

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    async def wait_for(self, number: int, within: float) -> list[EmailMessage]:
        """Until there are so many mails."""
        end = time.monotonic() + within
        while len(self.mails) < number:
            if time.monotonic() > end:
                subjects = [str(mail["Subject"]) for mail in self.mails]
                raise AssertionError(f"not {number} mails within {within:g} s: {subjects}")
            await trio.sleep(0.05)
        return self.mails


@asynccontextmanager
async def mail_server(
    directory: Path, address: str, port: int = 2525
) -> AsyncGenerator[MailServer]:
    """Started and listening."""
    make_certificates(directory, address)
    found = MailServer(directory, address, port)
    found.start()
    try:
        await listening(found)
        yield found
    finally:
        found.stop()


async def listening(server: MailServer) -> None:
    with trio.fail_after(20):
        while True:
            with suppress(OSError):
                stream = await trio.open_tcp_stream(server.address, server.port)
                await stream.aclose()
                return
            await trio.sleep(0.05)


def make_certificates(directory: Path, address: str) -> None:
    """``ca.pem``, and ``cert.pem`` and ``key.pem`` signed by it for the address."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])

    def signed(name: x509.Name, public: Any, *, ca: bool) -> bytes:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(names, critical=False)
        found = builder.sign(authority, hashes.SHA256())
        return found.public_bytes(serialization.Encoding.PEM)

    (directory / "ca.pem").write_bytes(signed(issuer, authority.public_key(), ca=True))
    (directory / "cert.pem").write_bytes(signed(subject, key.public_key(), ca=False))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (directory / "key.pem").write_bytes(private)


class _Files:
    """What aiosmtpd hands mails to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address.startswith(STRANGER):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        with suppress(OSError):
            answer = (self._directory / "answer").read_text()
            if answer == "silence":
                await asyncio.sleep(3600)
            if answer:
                return answer
        name = self._directory / f"{time.time_ns()}"
        name.with_suffix(".to").write_text(" ".join(envelope.rcpt_tos))
        (self._directory / "part").write_bytes(envelope.content)
        (self._directory / "part").rename(name.with_suffix(".eml"))
        return "250 taken"


async def _serve(directory: Path, address: str, port: int) -> None:
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")

    def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> Any:
        good = LoginPassword(USERNAME.encode(), PASSWORD.encode())
        return AuthResult(success=data == good, handled=False)

    def session() -> Any:
        return SMTP(
            _Files(directory),
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=login,
            hostname="mail.test",
        )

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(session, address, port)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
