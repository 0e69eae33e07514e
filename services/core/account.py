"""Becomes a program of another account: what must not run as root does not."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from services.core.settings import SettingsError


def account(name: str, package: str) -> pwd.struct_passwd:
    """The account to run as: ``name`` for root, who runs it already for anybody else.

    Raises SettingsError if there is none; ``package`` is the Debian package that makes it.
    """
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise SettingsError(f"no account {name}; install the Debian package {package}") from None


def own_directory(directory: Path, owner: pwd.struct_passwd) -> None:
    """Make ``directory`` and give it to ``owner`` alone (mode 0700).

    Raises SettingsError if a directory above it is closed to ``owner``, OSError if it cannot be.
    """
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    directory.chmod(0o700)
    for above in directory.parents:
        if not _may_pass(above.stat(), owner):
            raise SettingsError(
                f"{directory}: {owner.pw_name} cannot get there, since {above} is closed to it; "
                f"chmod o+x {above}"
            )


def own_file(path: Path, text: str, owner: pwd.struct_passwd) -> None:
    """Write ``text`` to a file that ``owner`` alone can read, as a whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
        os.fchown(out.fileno(), owner.pw_uid, owner.pw_gid)
        out.write(text)
    new.replace(path)


def become(
    owner: pwd.struct_passwd, arguments: Sequence[str], environment: Mapping[str, str], home: Path
) -> NoReturn:
    """Replace this process by a program of ``owner``'s. ``arguments[0]`` is the program's path."""
    if os.getuid() == 0:
        os.initgroups(owner.pw_name, owner.pw_gid)
        os.setgid(owner.pw_gid)
        os.setuid(owner.pw_uid)
    os.chdir(home)
    # The local engine finds its tasks by this mark.
    kept = {name: v for name, v in os.environ.items() if name.startswith("PBX_TASK_RUN")}
    basic = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(home)}
    os.execve(arguments[0], [*arguments], {**basic, **kept, **environment})  # noqa: S606


def _may_pass(found: os.stat_result, owner: pwd.struct_passwd) -> bool:
    if owner.pw_uid == found.st_uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if owner.pw_gid == found.st_gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return owner.pw_uid == 0 or bool(found.st_mode & stat.S_IXOTH)
