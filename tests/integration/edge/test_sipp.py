"""SIPp registers as a client that was not written for this project, with MD5."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from services.core.configuration import Security
from tests.support.kamailio import PASSWORD, CallManager

REGISTRATIONS = 90


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_registers_and_unregisters(
    manager: CallManager, tmp_path: Path, transport: str
) -> None:
    # SIPp 3.6 takes the first challenge whatever its algorithm, against RFC 8760 2.4.
    manager.configure(Security(digest=("MD5",)))
    users = tmp_path / "users.csv"
    rows = [
        f"{extension};[authentication username={extension} password={PASSWORD}]"
        for extension in range(1001, 1010)
    ]
    users.write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n")
    result = subprocess.run(
        [
            "sipp",
            f"{manager.address}:5060",
            *("-sf", str(Path(__file__).parent / "register_md5.xml")),
            *("-inf", str(users)),
            *("-i", f"{manager.network}.11"),
            *("-t", transport),
            *("-m", str(REGISTRATIONS)),
            *("-r", "45"),
            *("-timeout", "30"),
            "-timeout_error",
            "-nostdin",
            "-trace_err",
        ],
        cwd=tmp_path,
        capture_output=True,
        timeout=45,
        check=False,
    )
    errors = "".join(path.read_text() for path in tmp_path.glob("*errors.log"))
    assert result.returncode == 0, errors or result.stdout.decode()[-2000:]
    assert all(not manager.contacts(str(extension)) for extension in range(1001, 1010))
