"""For any two specs: the plan between them is empty exactly if they mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pbxctl.compile import Installation, compile_spec
from pbxctl.deployment import Deployment
from pbxctl.plan import Running, make_plan, read, render, save
from pbxctl.spec import load_bytes
from tests.unit.plan.facts import applied, fingerprints

WHERE = Installation(prefix=Path("/opt/pbx"), state_dir=Path("/var/lib/pbx"), release="1.0.0")
ENVIRONMENT = {"A": "one secret", "B": "another"}

few = st.integers(0, 3)
secrets = st.sampled_from([{"env": "A"}, {"env": "B"}])


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A small spec that is right."""
    roles = draw(st.sampled_from([["call-manager"], ["call-manager", "media"]]))
    servers = [{"name": "cm1", "address": "10.0.0.1", "roles": roles}]
    for n in range(draw(st.integers(1, 3))):
        calls = draw(st.sampled_from([100, 200]))
        servers.append(
            {
                "name": f"media{n}",
                "address": f"10.0.1.{n + 1}",
                "roles": ["media"],
                "capacity": {"calls": calls},
            }
        )
    trunks: dict[str, Any] = {}
    for n in range(draw(few)):
        trunks[f"t{n}"] = {"peer": f"sip:192.0.2.{n + 1}", "channels": draw(few)}
        if draw(st.booleans()):
            trunks[f"t{n}"]["register"] = {"username": "u", "password": draw(secrets)}
    routes = [
        {"name": f"r{n}", "match": [f"+{n + 1}*"], "trunks": draw(st.permutations(sorted(trunks)))}
        for n in range(draw(few))
        if trunks
    ]
    tenants = []
    for n in range(draw(few)):
        extensions = [str(100 + e) for e in range(draw(few))]
        users = [{"extension": e, "max_calls": draw(few)} for e in extensions]
        for user in users:
            if draw(st.booleans()):
                user["password"] = draw(secrets)
        tenant: dict[str, Any] = {"name": f"a{n}", "domains": [f"a{n}.example"], "users": users}
        if extensions:
            chosen = st.sampled_from(extensions)
            tenant["numbers"] = {f"+49{n}0{k}00": {"extension": draw(chosen)} for k in range(2)}
            tenant["ring_groups"] = {"all": {"members": draw(st.permutations(extensions))}}
        tenants.append(tenant)
    return {
        "cluster": "any",
        "servers": servers,
        "trunks": trunks,
        "routes": routes,
        "tenants": tenants,
        "max_calls": draw(st.sampled_from([0, 50])),
    }


def deployment(spec: dict[str, Any]) -> Deployment:
    text = json.dumps(spec).encode()  # JSON is YAML
    return compile_spec(load_bytes("any.yaml", text, Path(), ENVIRONMENT).spec, WHERE)


@settings(deadline=None, max_examples=150)
@given(specs(), specs())
def test_a_plan_is_empty_exactly_if_nothing_differs(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    before, wanted = deployment(first), deployment(second)
    plan = make_plan(wanted, applied(before, wanted), fingerprints(wanted))
    assert plan.empty == (before == wanted), render(plan)
    assert read(save(plan)).basis == plan.basis
    # What restarts is what has other settings, and nothing else.
    restarted = {job for change in plan.changes for job in change.restarts}
    wanted_jobs = {job.id: job for job in wanted.jobs}
    assert restarted == {job.id for job in before.jobs if wanted_jobs.get(job.id) != job}


@settings(deadline=None, max_examples=50)
@given(specs())
def test_after_apply_nothing_is_left_and_before_it_something_is(spec: dict[str, Any]) -> None:
    wanted = deployment(spec)
    assert wanted == deployment(spec)
    assert make_plan(wanted, applied(wanted, wanted), fingerprints(wanted)).empty
    assert not make_plan(wanted, Running(), fingerprints(wanted)).empty
