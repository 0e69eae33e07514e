"""What host-config writes for some servers, as files: `python -m tests.unit.host_config.golden`
writes them anew, to be read in the diff."""

from __future__ import annotations

from pathlib import Path

from pbxctl.host_config import host, tls
from pbxctl.host_config.keys import OPERATOR_KEYS, SERVICE_SECRETS, SIP_CERTIFICATE, SIP_KEY
from pbxctl.spec import ClusterSpec, load

GOLDEN = Path(__file__).with_name("golden")
SPEC = GOLDEN / "cluster.yaml"
SERVERS = ("cm1", "cm2", "media1")

KEYS = host.Keys(
    services={name: f"<{name}>" for name in (*SERVICE_SECRETS, SIP_KEY, SIP_CERTIFICATE)},
    operator={name: f"<{name}>" for name in OPERATOR_KEYS},
    authority=tls.Pair(certificate="<authority>", key="<authority's key>"),
    host=tls.Pair(certificate="<certificate>", key="<certificate's key>"),
)


def spec() -> ClusterSpec:
    return load(SPEC, {}).spec


def files(server: str) -> dict[str, host.File]:
    cluster = spec()
    chosen = next(each for each in cluster.servers if each.name == server)
    return host.files(cluster, chosen, KEYS, "/opt/pbx/1.2.3")


def text(server: str) -> str:
    """All files of a server in one text, each below its path and mode."""
    parts = [f"==== {path} {file.mode:o}\n{file.text}" for path, file in files(server).items()]
    return "".join(parts)


def main() -> None:
    for server in SERVERS:
        (GOLDEN / f"{server}.txt").write_text(text(server))


if __name__ == "__main__":
    main()
