"""The cluster's keys, certificates and tokens: made once, in pbxctl's state directory.

``secrets/`` is what services on the hosts read, named as they look for it; ``keys/`` is what makes
the hosts trust each other and stays with the operator, but for what `host.files` hands out. What is
there is never written again; only certificates are issued anew, with the same key, before they end.
"""

from __future__ import annotations

import base64
import os
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from pbxctl.host_config import tls

SERVICE_SECRETS: Mapping[str, Callable[[], str]] = {
    "cluster_key": lambda: secrets.token_hex(32),
    "admin_token": lambda: secrets.token_hex(32),
    "database_password": lambda: secrets.token_hex(24),
    "database_superuser_password": lambda: secrets.token_hex(24),
    "database_replication_password": lambda: secrets.token_hex(24),
    "live_password": lambda: secrets.token_hex(24),
    "consul_token": lambda: str(uuid.uuid4()),
}
"""By file name, with what makes one. Consul takes tokens that are UUIDs only."""

SIP_KEY, SIP_CERTIFICATE = "sip_key", "sip_certificate"
"""What phones see on TLS and WSS: the same on every call manager, for they share an address."""

MANAGERS_ONLY = frozenset(
    [SIP_KEY, SIP_CERTIFICATE, *(n for n in SERVICE_SECRETS if n.startswith("database_"))]
)
"""Those that no other host is given."""

OPERATOR_KEYS: Mapping[str, Callable[[], str]] = {
    "consul_gossip": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "nomad_gossip": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "consul_management_token": lambda: str(uuid.uuid4()),
    "consul_agent_token": lambda: str(uuid.uuid4()),
    "nomad_consul_token": lambda: str(uuid.uuid4()),
    "nomad_management_token": lambda: str(uuid.uuid4()),
}


class KeyStore:
    """``root`` is the cluster's state directory. Raises OSError and ValueError, as files do."""

    def __init__(self, root: Path) -> None:
        self.secrets_dir = root / "secrets"
        self.keys_dir = root / "keys"
        self.made: list[Path] = []

    def service_secrets(self) -> dict[str, str]:
        """What services need, by file name."""
        return {n: self._once(self.secrets_dir / n, new) for n, new in SERVICE_SECRETS.items()}

    def sip(self, names: tuple[str, ...], now: datetime) -> dict[str, str]:
        """Key and certificate for phones, by file name; ``names``: addresses and domains."""
        key = self._once(self.secrets_dir / SIP_KEY, tls.new_key)
        certificate = self._once(
            self.secrets_dir / SIP_CERTIFICATE, lambda: tls.self_signed(key, names, now)
        )
        return {SIP_KEY: key, SIP_CERTIFICATE: certificate}

    def operator_keys(self) -> dict[str, str]:
        """The rest, by name."""
        return {n: self._once(self.keys_dir / n, new) for n, new in OPERATOR_KEYS.items()}

    def authority(self, cluster: str, now: datetime) -> tls.Pair:
        """The cluster's certificate authority."""
        key = self._once(self.keys_dir / "ca.key", tls.new_key)
        certificate = self._once(
            self.keys_dir / "ca.pem", lambda: tls.authority(key, f"{cluster} servers", now)
        )
        return tls.Pair(certificate=certificate, key=key)

    def host(self, subject: tls.Subject, authority: tls.Pair, now: datetime) -> tls.Pair:
        """A host's certificate; a new one where the last is near its end or names other things."""
        key = self._once(self.keys_dir / f"host-{subject.name}.key", tls.new_key)
        path = self.keys_dir / f"host-{subject.name}.pem"
        try:
            certificate = path.read_text()
        except FileNotFoundError:
            certificate = ""
        if not tls.serves(certificate, subject, authority, now):
            certificate = tls.issue(key, subject, authority, now)
            self._write(path, certificate)
        return tls.Pair(certificate=certificate, key=key)

    def _once(self, path: Path, new: Callable[[], str]) -> str:
        try:
            found = path.read_text().strip()
        except FileNotFoundError:
            found = new().strip()
            self._write(path, found)
        if not found:
            raise ValueError(f"{path}: is empty; restore it from a backup, or remove it")
        return found

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
                out.write(text.rstrip("\n") + "\n")
                out.flush()
                os.fsync(out.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.made.append(path)
