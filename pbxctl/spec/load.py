"""A spec's file to a `ClusterSpec`: everything wrong with it is found in one reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath

import msgspec

from pbxctl.spec import checks
from pbxctl.spec.build import build, names_of
from pbxctl.spec.draft import Draft, Inputs, Report, prune
from pbxctl.spec.model import ClusterSpec
from pbxctl.spec.problems import Problem, SpecError, printable
from pbxctl.spec.schema import check as check_schema
from pbxctl.spec.tree import failure, parse


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A spec that can be compiled, and what is likely not meant."""

    spec: ClusterSpec
    warnings: tuple[Problem, ...]


def load(path: FilePath, environment: Mapping[str, str]) -> Loaded:
    """Read, check and resolve a spec.

    ``environment`` is where ``{env: NAME}`` secrets are looked up; files are relative to the spec.
    Raises SpecError with every problem there is, and nothing else whatever the file holds.
    """
    file = printable(str(path), 500)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        raise failure(file, 0, 0, f"cannot read it: {reason}") from None
    return load_bytes(file, data, path.parent, environment)


def load_bytes(
    file: str, data: bytes, directory: FilePath, environment: Mapping[str, str]
) -> Loaded:
    """`load` of what has been read already; ``file`` is for messages only."""
    root, problems = parse(file, data)
    if root.mapping is None:
        problems.extend(failure(file, root.line, root.column, _no_mapping()).problems)
        raise SpecError(problems)
    values = root.values()
    findings = check_schema(file, root, values)
    problems.extend(problem for _, problem in findings)
    names = names_of(root)
    # Longest first: what is inside goes before what it is in.
    for path, _ in sorted(findings, key=lambda finding: -len(finding[0])):
        prune(values, path)
    report = Report(file, root)
    inputs = Inputs(directory=directory, environment=environment)
    draft = build(values, names, inputs, report, complete=not problems)
    checks.check(draft, report)
    problems.extend(report.problems)
    if any(problem.severity == "error" for problem in problems):
        raise SpecError(problems)
    return Loaded(spec=_spec(draft), warnings=tuple(sorted(set(problems))))


def _no_mapping() -> str:
    return "expected a mapping that begins with `cluster:`; `pbxctl init` writes one to begin with"


def _spec(draft: Draft) -> ClusterSpec:
    managers = [server for _, server in draft.servers if "call-manager" in server.roles]
    network = draft.network
    if not network.vip:
        network = msgspec.structs.replace(network, vip=managers[0].address)
    return ClusterSpec(
        cluster=draft.cluster,
        engine=draft.engine,
        release=draft.release,
        install=draft.install,
        max_calls=draft.max_calls,
        network=network,
        servers=tuple(server for _, server in draft.servers),
        trunks=draft.trunks,
        routes=tuple(route for _, route in draft.routes),
        security=draft.security,
        recording=draft.recording,
        alerts=draft.alerts,
        tenants=tuple(
            msgspec.structs.replace(
                tenant, users=tuple(sorted(tenant.users, key=lambda user: user.extension))
            )
            for _, tenant in draft.tenants
        ),
    )
