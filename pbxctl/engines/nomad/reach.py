"""Where Nomad and Consul are: from the environment variables that HashiCorp's own tools read."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from pbxctl.engines.engine import EngineError

NOMAD = "http://127.0.0.1:4646"
CONSUL = "http://127.0.0.1:8500"


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """One service's HTTP API. ``ca`` and ``cert``, ``key`` are paths of PEM files, maybe empty."""

    url: str
    token: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Reach({self.url!r})"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Both APIs; ``namespace`` and ``region`` are Nomad's, empty for its defaults."""

    nomad: Reach
    consul: Reach
    namespace: str = ""
    region: str = ""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster's state directory says of its engine; it holds no secret."""

    engine: str
    nomad: str
    consul: str


def place(environment: Mapping[str, str], note: Note | None = None) -> Place:
    """Nomad and Consul as the environment says, else where they were reached before.

    Raises EngineError that names the variable that cannot be an address.
    """
    before = note or Note(engine="nomad", nomad=NOMAD, consul=CONSUL)
    return Place(
        nomad=_reach(environment, "NOMAD_ADDR", "NOMAD", "NOMAD_TOKEN", before.nomad),
        consul=_reach(
            environment, "CONSUL_HTTP_ADDR", "CONSUL", "CONSUL_HTTP_TOKEN", before.consul
        ),
        namespace=environment.get("NOMAD_NAMESPACE", ""),
        region=environment.get("NOMAD_REGION", ""),
    )


def _reach(
    environment: Mapping[str, str], variable: str, prefix: str, token: str, default: str
) -> Reach:
    given = environment.get(variable, "").strip() or default
    secure = environment.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true")
    scheme = "https" if prefix == "CONSUL" and secure else "http"
    # Consul's tool takes an address without a scheme.
    url = given if "://" in given else f"{scheme}://{given}"
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    if not well:
        raise EngineError(
            f'{variable}: "{given}" is no address; expected one such as http://10.20.0.11:4646'
            if prefix == "NOMAD"
            else f'{variable}: "{given}" is no address; expected one such as http://10.20.0.11:8500'
        )
    return Reach(
        url=url.rstrip("/"),
        token=environment.get(token, ""),
        ca=environment.get(f"{prefix}_CACERT", ""),
        cert=environment.get(f"{prefix}_CLIENT_CERT", ""),
        key=environment.get(f"{prefix}_CLIENT_KEY", ""),
    )
