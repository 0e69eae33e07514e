"""Settings of a role: typed, from the job's meta in the environment and nowhere else."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

META = "NOMAD_META_"
"""Nomad, and the local engine alike, give every task its job's meta below this prefix."""


class SettingsError(Exception):
    """The environment lacks a variable or holds one that cannot be read; names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every role is told. Field ``data_dir`` is read from ``NOMAD_META_DATA_DIR``, and so on.

    ``registry`` is the base URL of Consul's HTTP API. ``data_dir`` outlives the allocation;
    ``run_dir`` (``NOMAD_ALLOC_DIR``) is shared by the tasks of one allocation, for sockets and
    other things that need not. ``secrets_dir`` holds ``cluster_key`` (32 bytes, hex) and
    ``admin_token``.
    """

    cluster: str
    server: str
    release: str
    registry: str
    address: str
    public_address: str = ""
    data_dir: Path
    run_dir: Path
    secrets_dir: Path

    def secret(self, name: str) -> str:
        """One secret as text, stripped. Raises SettingsError if it is not there."""
        path = self.secrets_dir / name
        try:
            return path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"secret {name}: {path}: {error.strerror}") from None

    def cluster_key(self) -> bytes:
        """The key that signs routes and nonces and seals secrets; 32 bytes."""
        return bytes.fromhex(self.secret("cluster_key"))

    def admin_token(self) -> str:
        """The bearer token of every role's admin HTTP side."""
        return self.secret("admin_token")

    def registry_token(self) -> str:
        """What opens the registry; empty where it asks for none, as on one machine."""
        if not (self.secrets_dir / "consul_token").exists():
            return ""
        return self.secret("consul_token")

    def live_password(self) -> str:
        """Redis' password, the secret ``live_password``; empty where there is none."""
        there = (self.secrets_dir / "live_password").exists()
        return self.secret("live_password") if there else ""


class Peer(msgspec.Struct, frozen=True):
    """Another server of the cluster and its address on the cluster network."""

    name: str
    address: str


def parse_peers(text: str) -> tuple[Peer, ...]:
    """``cm1=10.20.0.11,cm2=10.20.0.12`` as peers, in that order; empty text is none.

    Raises SettingsError that names what cannot be read.
    """
    found: list[Peer] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, address = part.partition("=")
        try:
            found.append(Peer(name, str(ipaddress.ip_address(address))))
        except ValueError:
            raise SettingsError(
                f"managers: {part!r}: expected name=address, as in cm1=10.20.0.11"
            ) from None
    if len({peer.name for peer in found}) != len(found):
        raise SettingsError("managers: a name is there twice")
    return tuple(found)


def parse_live(text: str) -> tuple[str, int]:
    """Where Redis is, from ``address:port``. Raises SettingsError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"live: {text!r}: expected address:port of Redis")
    return host.strip("[]"), int(port)


S = TypeVar("S", bound=Settings)


def from_environment(kind: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Settings of ``kind``. Raises SettingsError naming the variable that is missing or wrong."""
    values: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        name = "NOMAD_ALLOC_DIR" if field.name == "run_dir" else META + field.name.upper()
        if name in environment:
            values[field.name] = environment[name]
        elif field.required:
            raise SettingsError(f"{name} is not set: this program is started by its job file")
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(f"job meta: {error}") from None


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"no way to read {kind} from the environment")
