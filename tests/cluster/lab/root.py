"""A root directory of a host's own: this machine's below, what the host writes above."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.lab.commands import command

SIZE = "1g"
"""At most, of memory; only what is written takes any."""

# `ip netns exec` gives every program mounts of its own, with the namespace's /sys: so these end
# with it, and the machine's are not touched.
ENTER = """
root=$1; shift
mount --rbind /proc "$root/proc" && mount --rbind /sys "$root/sys" && mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
"""


class OwnRoot:
    """``path`` is the root directory as seen from outside; the lab's end unmounts it."""

    def __init__(self, disk: Path) -> None:
        self.path = disk / "root"
        disk.mkdir()
        # A file system of its own: layers must not lie within each other.
        command("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "pbx-lab", str(disk))
        upper, work = disk / "upper", disk / "work"
        for directory in (self.path, upper, work):
            directory.mkdir()
        layers = f"lowerdir=/,upperdir={upper},workdir={work}"
        command("mount", "-t", "overlay", "-o", layers, "pbx-lab", str(self.path))
        command("mount", "--make-private", str(self.path))

    def command(self) -> list[str]:
        """What runs the words that follow it in there."""
        return ["sh", "-ec", ENTER, "sh", str(self.path)]
