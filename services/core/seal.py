"""Secrets sealed with the cluster key: who reads the database, or a wire, cannot read them."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE = 12


class SealError(Exception):
    """A secret cannot be opened: it was sealed with another cluster key, or is damaged."""


class Seal:
    """Seals with AES-256-GCM; the secret's name is bound in, so that none passes for another.

    ``cluster_key`` is 32 bytes; the key used is derived from it, since it signs routes as well.
    """

    def __init__(self, cluster_key: bytes) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"pbx secrets 1").derive(cluster_key)
        self._cipher = AESGCM(derived)

    def close(self, name: str, value: str) -> bytes:
        """``value`` sealed: nonce and ciphertext."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value.encode(), name.encode())

    def open(self, name: str, sealed: bytes) -> str:
        """What was sealed. Raises SealError."""
        try:
            nonce, data = sealed[:_NONCE], sealed[_NONCE:]
            return self._cipher.decrypt(nonce, data, name.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealError(f"secret {name} was not sealed with this cluster's key") from None
