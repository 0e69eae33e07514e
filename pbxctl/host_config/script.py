"""The texts that go with a host's files: what installs them, and what to read first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

INSTALL = """\
#!/bin/bash
# Makes this host {server} of its cluster. As root, on the host, from this directory; it may run
# again, and then changes and restarts only what differs.
#   ./install            packages, files, kernel settings, services
#   ./install --files    files alone
set -euo pipefail
umask 022
fail() {{ printf 'install: %s\\n' "$*" >&2; exit 1; }}
cd "$(dirname "$0")"
[ "$(id -u)" = 0 ] || fail "needs root"
only_files=; [ "${{1:-}}" != --files ] || only_files=yes

packages=({packages})
masked=({masked})
secret=({secret})

if [ -z "$only_files" ]; then
  for program in consul nomad; do
    [ -x /usr/bin/$program ] || fail "/usr/bin/$program is not there: install HashiCorp's package"
  done
  missing=()
  for package in "${{packages[@]}}"; do
    state=$(dpkg-query -W -f '${{db:Status-Status}}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
  done
  # Nomad starts these programs; Debian's own services would take their ports.
  for unit in "${{masked[@]}}"; do systemctl mask --now "$unit.service" 2>/dev/null || true; done
  if [ ${{#missing[@]}} -gt 0 ]; then
    echo "installing ${{missing[*]}}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${{missing[@]}}"
  fi
fi
getent passwd consul >/dev/null ||
  useradd --system --user-group --home-dir /var/lib/consul --shell /usr/sbin/nologin consul

changed=" "
while IFS= read -r -d '' file; do
  target=/${{file#root/}}
  mode=0644
  for one in "${{secret[@]}}"; do [ "$one" != "$file" ] || mode=0600; done
  cmp -s "$file" "$target" && [ "$(stat -c 0%a "$target")" = $mode ] && continue
  install -D -m $mode "$file" "$target"
  changed+="$target "
  echo "wrote $target"
done < <(find root -type f -print0 | sort -z)

install -d -o consul -g consul -m 0700 /var/lib/consul
install -d -m 0700 /var/lib/nomad
chown -R consul:consul /etc/consul.d /etc/pbx/tls/consul
chmod 0700 /etc/pbx/tls/consul /etc/pbx/tls/nomad {state}/secrets
chmod 0755 {state}
[ -z "$only_files" ] || exit 0

sysctl -q --system
systemctl daemon-reload
for engine in consul nomad; do
  systemctl enable --quiet $engine
  case $changed in
    *" /etc/$engine.d/"* | *" /etc/pbx/tls/"* | *"/$engine.service "*)
      # Tasks, and so calls, go on while an agent restarts.
      systemctl restart $engine && echo "restarted $engine" ;;
    *) systemctl start $engine ;;
  esac
done
"""

README = """\
{server} of {cluster}: {roles}

On the host, as root:
1. Consul and Nomad from HashiCorp's packages (1.20 and 1.11 or later), as /usr/bin/consul and
   /usr/bin/nomad. Leave their services stopped.
2. Copy this directory there and run ./install. It installs the packages in packages.txt, copies
   root/ to /, and starts Consul and Nomad. Again after each change.
3. The product's release, as {prefix}/bin (docs/operate.md, "From bare hosts to the first call").
{then}
Files of mode 600 hold secrets: copy this directory by ssh, and remove it from the host afterwards.
"""

FIRST = """\
4. Once all call managers have done 2: ./bootstrap, here only. It brings the access rules into
   Consul and Nomad; every agent then finds its token valid within some seconds.
"""


def install(
    server: str,
    *,
    packages: Sequence[str],
    masked: Sequence[str],
    secret: Sequence[str],
    state: str,
) -> str:
    """The script that the host runs."""
    return INSTALL.format(
        server=server,
        packages=shlex.join(packages),
        masked=shlex.join(masked),
        secret=shlex.join(secret),
        state=shlex.quote(state),
    )


def readme(cluster: str, server: str, *, roles: Sequence[str], first: bool, prefix: str) -> str:
    """What to do with the directory."""
    return README.format(
        cluster=cluster,
        server=server,
        roles=", ".join(roles),
        prefix=prefix,
        then=FIRST if first else "",
    )
