"""Secrets, sealed with the cluster key: who reads the database alone cannot read them."""

from __future__ import annotations

import os

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.engine import Connection

from services.core.store.dialect import insert
from services.core.store.errors import SealError
from services.core.store.schema import secrets

_NONCE = 12


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


def put(connection: Connection, seal: Seal, name: str, value: str) -> None:
    """Write a secret, new or not."""
    sealed = seal.close(name, value)
    statement = insert(connection, secrets).values(name=name, sealed=sealed)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"sealed": sealed})
    )


def get(connection: Connection, seal: Seal, name: str) -> str | None:
    """A secret's value, or None. Raises SealError."""
    sealed = connection.execute(
        sa.select(secrets.c.sealed).where(secrets.c.name == name)
    ).scalar_one_or_none()
    return None if sealed is None else seal.open(name, sealed)


def names(connection: Connection) -> list[str]:
    """The names of all secrets, sorted."""
    return list(connection.execute(sa.select(secrets.c.name).order_by(secrets.c.name)).scalars())


def delete(connection: Connection, name: str) -> bool:
    """Delete a secret; False if it was not there."""
    return connection.execute(sa.delete(secrets).where(secrets.c.name == name)).rowcount > 0
