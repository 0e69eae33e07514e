"""A job's variables as HCL: the var file that Nomad reads them from."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pbxctl.deployment import Variable


def var_file(variables: Mapping[str, Variable]) -> str:
    """A var file of Nomad's: HCL, where a JSON string is a string but for its interpolation."""
    return "".join(f"{name} = {literal(value)}\n" for name, value in sorted(variables.items()))


def literal(value: Variable) -> str:
    """A value in HCL."""
    if isinstance(value, int):
        return str(value)
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")
