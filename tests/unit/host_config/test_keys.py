"""Keys and certificates: made once, right, and never replaced."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pbxctl.host_config import tls
from pbxctl.host_config.keys import KeyStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANAGER = tls.Subject(name="cm1", addresses=("10.20.0.11",), server=True)
CLIENT = tls.Subject(name="media1", addresses=("10.20.0.21",), server=False)


def names(certificate: str) -> set[str]:
    found = x509.load_pem_x509_certificate(certificate.encode())
    value = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {
        *value.get_values_for_type(x509.DNSName),
        *map(str, value.get_values_for_type(x509.IPAddress)),
    }


def test_everything_is_made_once(tmp_path: Path) -> None:
    first = KeyStore(tmp_path)
    made = (first.service_secrets(), first.operator_keys(), first.authority("acme", NOW))
    assert len(first.made) == len(made[0]) + len(made[1]) + 2
    assert {path.stat().st_mode & 0o777 for path in first.made} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in first.made} == {0o700}
    second = KeyStore(tmp_path)
    again = (second.service_secrets(), second.operator_keys(), second.authority("acme", NOW))
    assert again == made
    assert second.made == []
    assert len(set(made[0].values()) | set(made[1].values())) == len(made[0]) + len(made[1])


def test_phones_see_one_certificate_everywhere(tmp_path: Path) -> None:
    made = KeyStore(tmp_path).sip(("10.20.0.10", "sales.example"), NOW)
    assert names(made["sip_certificate"]) == {"10.20.0.10", "sales.example"}
    assert KeyStore(tmp_path).sip(("10.20.0.99",), NOW) == made


def test_an_empty_key_is_an_error_not_a_new_key(tmp_path: Path) -> None:
    KeyStore(tmp_path).service_secrets()
    path = tmp_path / "secrets" / "cluster_key"
    path.write_text("\n")
    with pytest.raises(ValueError, match="cluster_key: is empty"):
        KeyStore(tmp_path).service_secrets()
    assert path.read_text() == "\n"


def test_only_servers_are_named_as_such(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    authority = store.authority("acme", NOW)
    manager, client = (store.host(each, authority, NOW) for each in (MANAGER, CLIENT))
    assert {"server.pbx.consul", "server.global.nomad", "10.20.0.11"} <= names(manager.certificate)
    assert not any(name.startswith("server.") for name in names(client.certificate))
    assert str(ipaddress.ip_address("127.0.0.1")) in names(client.certificate)
    issued = x509.load_pem_x509_certificate(client.certificate.encode())
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))


@pytest.mark.parametrize(
    ("subject", "later", "same"),
    [
        (CLIENT, timedelta(days=1), True),
        (tls.Subject(name="media1", addresses=("10.20.0.99",), server=False), timedelta(), False),
        (CLIENT, tls.HOST_LIFE - tls.RENEW + timedelta(days=1), False),
    ],
    ids=["in its life", "another address", "near its end"],
)
def test_a_certificate_is_issued_anew_with_the_same_key(
    tmp_path: Path, subject: tls.Subject, later: timedelta, same: bool
) -> None:
    store = KeyStore(tmp_path)
    authority = store.authority("acme", NOW)
    first = store.host(CLIENT, authority, NOW)
    then = store.host(subject, authority, NOW + later)
    assert (then.certificate == first.certificate) is same
    assert then.key == first.key
    assert tls.serves(then.certificate, subject, authority, NOW + later)
