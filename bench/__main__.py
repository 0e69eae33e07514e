"""`python -m bench [NAME …]`: runs benchmarks and prints their tables."""

from __future__ import annotations

import importlib
import os
import platform
import sys

NAMES = ("routing", "users", "capacity", "audio", "sip")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"bench: no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    tables = []
    for name in names or NAMES:
        print(f"{name}:")
        tables += importlib.import_module(f"bench.{name}").run()
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}\n")
    for table in tables:
        print(table.markdown())
    return 1 if any(result.met is False for table in tables for result in table.results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
