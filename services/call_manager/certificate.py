"""A self-signed certificate, until the operator puts a real one in its place."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 825
BACKDATED = datetime.timedelta(days=1)
"""Phones whose clock is a little behind are not to refuse it."""


GIVEN = ("sip_certificate", "sip_key")
"""Secrets of a cluster, where every Call Manager shows phones the same certificate."""


def take_given(directory: Path, secrets_dir: Path) -> None:
    """Put the cluster's certificate in place, if it has one and nothing is. Raises OSError."""
    certificate, key = (secrets_dir / name for name in GIVEN)
    if not (certificate.exists() and key.exists()) or (directory / "cert.pem").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "key.pem", key.read_bytes(), 0o600)
    _write(directory / "cert.pem", certificate.read_bytes(), 0o644)


def ensure(directory: Path, names: Iterable[str], now: datetime.datetime) -> bool:
    """Make ``cert.pem`` and ``key.pem`` for ``names`` (addresses and domains); False if there.

    Raises OSError.
    """
    certificate, key = directory / "cert.pem", directory / "key.pem"
    if certificate.exists() and key.exists():
        return False
    directory.mkdir(parents=True, exist_ok=True)
    made_certificate, made_key = make(tuple(dict.fromkeys(names)), now)
    # The key first: a certificate without one would pass for whole at the next start.
    _write(key, made_key, 0o600)
    _write(certificate, made_certificate, 0o644)
    return True


def make(names: tuple[str, ...], now: datetime.datetime) -> tuple[bytes, bytes]:
    """Certificate and key in PEM; ``names`` become its subjectAltName (RFC 5922 section 7.1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, data: bytes, mode: int) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
