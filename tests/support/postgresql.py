"""A PostgreSQL server of the test's own, on a Unix socket in a temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


@contextmanager
def postgresql_server() -> Generator[str]:
    """SQLAlchemy's URL of a fresh server; it is stopped, by its process, at the end.

    PostgreSQL refuses to run as root, so root runs it as user postgres.
    """
    directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    # With a test run that is killed, its server dies too.
    become = ["setpriv", "--pdeathsig", "QUIT"]
    name = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(directory, account.pw_uid, account.pw_gid)
        become += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        name = USER
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    data = directory / "data"
    log = directory / "log"
    initialize = [str(programs / "initdb"), "-D", str(data), "-U", name, "-A", "trust"]
    subprocess.run(
        [*become, *initialize, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"],
        check=True,
        capture_output=True,
        timeout=120,
        cwd=directory,
    )
    # PostgreSQL is told to do without what guards against a power cut: the data is thrown away.
    options = ["-k", str(directory), "-h", "", "-F", "-c", "max_connections=50"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*become, str(programs / "postgres"), "-D", str(data), *options],
            stdout=output,
            stderr=output,
            cwd=directory,
        )
    try:
        _wait(process, directory, programs, name, log)
        yield f"postgresql+psycopg://{name}@/postgres?host={directory}"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)


def _wait(
    process: subprocess.Popen[bytes], directory: Path, programs: Path, name: str, log: Path
) -> None:
    deadline = time.monotonic() + 60
    ready = [str(programs / "pg_isready"), "-q", "-t", "5", "-h", str(directory), "-U", name]
    while subprocess.run(ready, timeout=30, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.05)
