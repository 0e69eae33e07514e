"""The example in docs/sip.md, as it stands there but for its addresses, called by SIPp."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.support.hosts import loopback_network
from tests.support.sipp import sipp

ROOT = Path(__file__).parents[3]
CALLER = Path(__file__).parent / "scenarios/caller.xml"


async def test_example(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs/sip.md").read_text(), re.DOTALL)
    assert found is not None
    with loopback_network() as network:
        program = tmp_path / "example.py"
        program.write_text(found[1].replace("127.0.0.1", f"{network}.1"))
        printed = tmp_path / "printed"
        with printed.open("wb") as output:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-u", str(program)],
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            caller = sipp(
                CALLER,
                address=f"{network}.2",
                target=f"{network}.1:5080",
                calls=5,
                rate=50,
                options=["-s", "menu"],
            )
            async with caller as calling:
                await calling.succeed()
            assert process.returncode is None, printed.read_text()
        finally:
            process.terminate()
            await process.wait()
        lines = printed.read_text().splitlines()
        heard = [line for line in lines if line.endswith(f"hears PCMA/8000 at {network}.2:6000")]
        assert len(heard) == 5, printed.read_text()
