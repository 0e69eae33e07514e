"""Certificates between the hosts: one authority a cluster, one certificate a host.

Consul and Nomad know a server by the name in its certificate, ``server.<datacenter>.consul`` and
``server.<region>.nomad``, whatever its address; so a host without that name cannot pass for one.
https://developer.hashicorp.com/consul/docs/secure/encryption/tls/enable/existing/openssl
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=20 * 365)
HOST_LIFE = timedelta(days=5 * 365)
RENEW = timedelta(days=180)
"""Before its end a host's certificate is issued anew."""
SKEW = timedelta(days=1)
"""Hosts whose clocks are behind accept it nevertheless."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """PEM texts."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Pair(***)"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A host. ``server``: whether it runs Consul's and Nomad's servers."""

    name: str
    addresses: tuple[str, ...]
    server: bool
    datacenter: str = "pbx"
    region: str = "global"

    def names(self) -> list[x509.GeneralName]:
        """What the certificate is good for."""
        dns = ["localhost", self.name, f"client.{self.region}.nomad"]
        dns += [f"{self.name}.node.{self.datacenter}.consul"]
        if self.server:
            dns += [f"server.{self.datacenter}.consul", f"server.{self.region}.nomad"]
        addresses = sorted({"127.0.0.1", *self.addresses})
        return [
            *(x509.DNSName(name) for name in sorted(dns)),
            *(x509.IPAddress(ip_address(address)) for address in addresses),
        ]


def new_key() -> str:
    """A P-256 key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def authority(key: str, name: str, now: datetime) -> str:
    """A certificate that signs others, and itself."""
    private = _private(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _pem(
        _builder(subject, subject, private.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(private, hashes.SHA256())
    )


def self_signed(key: str, names: tuple[str, ...], now: datetime) -> str:
    """A certificate for addresses and domains, which phones see until there is a public one."""
    private = _private(key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    return _pem(
        _builder(name, name, private.public_key(), now, HOST_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )


def issue(key: str, subject: Subject, authority: Pair, now: datetime) -> str:
    """A host's certificate, for both ends of a connection."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    signer = _private(authority.key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _pem(
        _builder(name, issuer.subject, _private(key).public_key(), now, HOST_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(subject.names()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )


def serves(certificate: str, subject: Subject, authority: Pair, now: datetime) -> bool:
    """Whether a host's certificate is the authority's, names what it must and lasts a while."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
        found.verify_directly_issued_by(issuer)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - cryptography has no common base for what is no certificate
        return False
    return list(names) == subject.names() and found.not_valid_after_utc - now > RENEW


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: str) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(key.encode(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key of host-config's")
    return found


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
