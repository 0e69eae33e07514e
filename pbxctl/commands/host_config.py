"""`pbxctl host-config`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from pbxctl import __version__
from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.failure import CommandError
from pbxctl.commands.output import count
from pbxctl.host_config import host, keys, writing
from pbxctl.spec import ClusterSpec
from pbxctl.spec.model import Server

SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


@click.command("host-config")
@click.argument("server")
@spec_argument
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory to write to: a new one, an empty one, or this server's of an earlier run.",
)
@common
def command(here: Here, server: str, spec: Path, target: Path) -> None:
    """Write what the host of SERVER needs before `pbxctl apply`: Consul's and Nomad's
    configuration with keys, certificates and access rules, systemd units, kernel settings, the
    list of packages, and the cluster's secrets.

    \b
    OUT/README       what to do with it, in order
    OUT/install      run on the host, as root
    OUT/root/…       files as they go to the host
    OUT/bootstrap    on the first call manager only: access rules, once all of them run

    Keys and secrets are made once for the whole cluster, in its state directory (--state-dir): run
    this for all servers from the same place, and keep a backup of it. Run again, it writes what has
    changed and nothing else; it never replaces a key.
    """
    from pbxctl.commands.loading import load_spec

    loaded = load_spec(spec).spec
    chosen = _server(loaded, server)
    directory = here.directory(loaded.cluster)
    try:
        note = writing.check(target, loaded.cluster, chosen.name)
        store = keys.KeyStore(directory)
        files = host.files(
            loaded, chosen, _keys(store, loaded, chosen, datetime.now(UTC)), _prefix(loaded)
        )
        todo = writing.changes(target, files, note)
        writing.write(target, files, todo, loaded.cluster, chosen.name)
    except writing.NotOursError as error:
        raise CommandError(f"{error}; nothing was written") from None
    except OSError as error:
        raise CommandError(f"{error.filename or target}: {error.strerror}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if here.out.json:
        here.out.value(
            {
                "cluster": loaded.cluster,
                "server": chosen.name,
                "out": str(target),
                "keys_made": [str(path) for path in store.made],
                "changes": [msgspec.to_builtins(change) for change in todo],
            }
        )
        return
    _show(here, target, todo, store)


def _server(spec: ClusterSpec, name: str) -> Server:
    if spec.engine != "nomad":
        raise CommandError(
            f"engine: {spec.engine} needs no host configuration; it is for engine: nomad"
        )
    for server in spec.servers:
        if server.name == name:
            return server
    names = ", ".join(server.name for server in spec.servers)
    raise CommandError(f"{spec.cluster} has no server {name}; its servers are {names}")


def _prefix(spec: ClusterSpec) -> str:
    return spec.install.prefix.replace("{release}", spec.release or __version__)


def _keys(store: keys.KeyStore, spec: ClusterSpec, server: Server, now: datetime) -> host.Keys:
    authority = store.authority(spec.cluster, now)
    return host.Keys(
        services={**store.service_secrets(), **store.sip(host.sip_names(spec), now)},
        operator=store.operator_keys(),
        authority=authority,
        host=store.host(host.subject(spec, server), authority, now),
    )


def _show(here: Here, target: Path, todo: list[writing.Change], store: keys.KeyStore) -> None:
    out = here.out
    if not todo:
        out.line(f"{target}: nothing has changed, nothing was written")
    for change in todo:
        sign, style = SIGNS[change.what]
        out.line(f"{sign} {change.path}", style=style)
        for line in change.diff:
            out.line(f"    {line}")
    if todo:
        out.line(f"{target}: {count(len(todo), 'file')} written; see {target / 'README'}")
    if store.made:
        out.line(
            f"{count(len(store.made), 'key')} made below {store.keys_dir.parent}: every server's "
            "files are made from them, so keep a backup"
        )
