"""One PBX for all tests here that do not break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pbx import Pbx, Spec, pbx, user

GROUP = "+493012345670"
"""The ring group of 2003 and 2004."""


def busy_office(spec: Spec) -> None:
    """Forwards of every kind, a ring group, a user whose calls are recorded."""
    tenant = spec["tenants"][0]
    tenant["main_number"] = GROUP
    tenant["numbers"] = {GROUP: {"ring_group": "desk"}}
    tenant["ring_groups"] = {"desk": {"members": ["2003", "2004"], "timeout": "10s"}}
    user(spec, "2001")["permission"] = "national"
    user(spec, "2005")["forward"] = {"always": {"extension": "2002"}}
    user(spec, "2006")["forward"] = {"busy": {"extension": "2002"}}
    user(spec, "2007")["forward"] = {"no_answer": {"extension": "2002"}, "no_answer_after": "3s"}
    user(spec, "2008")["forward"] = {"not_registered": {"extension": "2002"}}
    user(spec, "2009")["record"] = True


@pytest.fixture(scope="session")
def office() -> Iterator[Pbx]:
    with pbx(edit=busy_office) as running:
        yield running
