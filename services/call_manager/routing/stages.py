"""Where a call goes, and where next. Pure: a request or an outcome in, the next thing to try out.

`begin` makes a `Progress` of a request, `advance` gives the next `Action`, `report` takes how it
ended. It always comes to an end: no destination is looked at twice, there are at most `MAX_STEPS`
steps, and nothing rings past `Progress.until`.
"""

from __future__ import annotations

from services.call_manager.routing import dialling
from services.call_manager.routing.call import (
    Action,
    Announce,
    Authority,
    Dial,
    Goto,
    Outcome,
    OutcomeKind,
    Progress,
    Refuse,
    Request,
    Ring,
    Serve,
)
from services.call_manager.tables import Tables
from services.core.configuration import Announcement, Destination, RingGroup, Tenant, User
from services.core.passport import MOST_HOPS

Next = list[Goto | Ring | Dial | Announce | Serve]

MAX_STEPS = 24
"""Below what Kamailio can fork in one transaction (max_branches, 30)."""
MAX_RINGING = 180
"""Seconds (RFC 3261 section 16.6 step 11: timer C is more than three minutes)."""
RING = 60
"""Seconds that a phone rings where nobody has said how long."""
MERGED = 2
"""Times that a phone is asked again at once that is still busy with its own refusal."""

SERVERS = 3
"""Application servers that are asked before a call is given up."""

NOT_FOUND = (404, "Not Found")
_ANNOUNCEMENT: dict[int, Announcement] = {
    403: "not-permitted",
    404: "unknown-number",
    480: "unavailable",
    486: "busy",
}


def begin(request: Request, tables: Tables, now: float) -> Progress:
    """A call's first picture. What it may not do is found by `advance`."""
    caller, authority = request.caller, request.authority
    progress = Progress(caller=caller, until=now + MAX_RINGING, pending=[])
    if authority is None:
        _enter_from_trunk(progress, request, tables)
        return progress
    tenant = tables.tenant(authority.tenant)
    if tenant is None:
        return progress
    if request.onward is not None:
        onward = request.onward
        progress.hops, progress.plain = onward.hops, True
        diverted = onward.called if onward.called.startswith("+") else ""
        to = onward.to
        progress.pending.append(Goto(to.kind, to.target, authority, diverted))
        return progress
    number = dialling.digits(request.dialled)
    if number is not None:
        found = dialling.emergency_number(number, tenant, tables.routes)
        if found is not None:
            meant, route = found
            trunks = dialling.outbound(route, meant, tables.trunks).trunks
            progress.emergency = True
            progress.pending.append(Dial(trunks, meant, authority.number, "", True))
            return progress
    ours = request.here or request.replaces or tables.tenant_of(request.host) is tenant
    if not ours:
        # Another tenant's domain or a stranger's: only public numbers lead out of a tenant.
        return progress
    progress.pending.append(Goto("dialled", request.dialled, authority))
    return progress


def advance(progress: Progress, tables: Tables, now: float) -> Action:
    """The next thing to try; `Refuse` when there is none left. It is also ``progress.current``."""
    while progress.pending:
        item = progress.pending.pop(0)
        progress.steps += 1
        if progress.steps > MAX_STEPS:
            progress.pending.clear()
            progress.code, progress.reason = 482, "Too Many Destinations"
            break
        if isinstance(item, Goto):
            progress.pending[:0] = _resolve(progress, item, tables)
            continue
        if isinstance(item, Ring):
            left = int(progress.until - now)
            if left <= 0:
                progress.pending.clear()
                break
            if item.timeout > left:
                item = Ring(item.tenant, item.extensions, left, item.follow)
        progress.current = item
        return item
    progress.current = _ending(progress, tables)
    return progress.current


def ask_again(progress: Progress, code: int) -> bool:
    """Whether who rings is asked once more, in the plainest form, its answer being ``code``.

    A phone on TLS without SRTP, or without any of the codecs, refuses what it is offered first. One
    that is still busy with that refusal takes what comes next for the same request on another way
    (RFC 3261 section 8.2.2.2), and says so with a 482.
    """
    ringing = isinstance(progress.current, Ring)
    if ringing and not progress.compatible and code in (415, 488, 606):
        progress.compatible, progress.merged = True, 0
    elif ringing and progress.compatible and code == 482 and progress.merged < MERGED:
        progress.merged += 1
    else:
        progress.compatible = False
    return progress.compatible


def report(progress: Progress, outcome: Outcome, tables: Tables) -> None:
    """Take how the current action ended; what follows from it is next."""
    current = progress.current
    if isinstance(current, Announce | Refuse):
        progress.pending.clear()
        progress.code, progress.reason = current.code, current.reason
        progress.announced = True
    elif isinstance(current, Dial):
        _after_dial(progress, current, outcome)
    elif isinstance(current, Serve):
        _after_serve(progress, current, outcome)
    elif isinstance(current, Ring):
        _after_ring(progress, current, outcome, tables)


def classify(code: int, *, timed_out: bool, rang: bool) -> OutcomeKind:
    """What a final status means for a call's further way.

    ``timed_out``: nobody sent it, time ran out; ``rang``: a provisional answer came before.
    """
    if timed_out:
        return "no-answer" if rang else "unavailable"
    if 300 <= code < 400:
        return "redirected"
    if code in (486, 600):
        return "busy"
    if code == 603:
        return "declined"
    if code in (408, 480, 487):
        return "no-answer"
    if code in (404, 410, 430, 604) or code >= 500:
        return "unavailable"
    return "failed"


def _enter_from_trunk(progress: Progress, request: Request, tables: Tables) -> None:
    trunk = tables.trunks.get(request.caller.trunk)
    for number in dialling.from_trunk(request.dialled, trunk) if trunk is not None else ():
        found = tables.number(number)
        tenant = tables.tenant(found.tenant) if found else None
        if found is not None and tenant is not None:
            progress.seen.append(f"n:{number}")
            authority = Authority(tenant.name, "", "international", tenant.main_number)
            progress.pending.append(
                Goto(found.destination.kind, found.destination.target, authority, number)
            )
            return


def _resolve(progress: Progress, goto: Goto, tables: Tables) -> Next:
    tenant = tables.tenant(goto.authority.tenant)
    if tenant is None:
        return []
    if goto.kind == "dialled":
        return _dialled(progress, goto, tenant, tables)
    if goto.kind == "number":
        return _number(progress, goto, tenant, tables, goto.target)
    if goto.kind == "announcement":
        name: Announcement = goto.target  # type: ignore[assignment]  # the compiler has checked it
        code = next((c for c, known in _ANNOUNCEMENT.items() if known == name), 480)
        progress.announced = True
        return [Announce(name, tenant.language, code, _REASONS[code])]
    mark = f"{goto.kind[0]}:{tenant.name}/{goto.target}"
    if mark in progress.seen:
        _note(progress, 482, "Loop Detected")
        return []
    progress.seen.append(mark)
    if goto.kind in ("menu", "voicemail", "prompts"):
        return _served(progress, goto, tenant)
    if goto.kind == "ring_group":
        group = tenant.ring_groups.get(goto.target)
        if group is None:
            _note(progress, *NOT_FOUND)
            return []
        progress.callee = progress.callee or goto.target
        return _group(tenant, goto, group)
    return _extension(progress, goto, tenant, tables)


def _served(progress: Progress, goto: Goto, tenant: Tenant) -> Next:
    """A menu, a voicemail box or what records prompts, at a server for that."""
    if goto.kind == "menu" and goto.target not in tenant.menus:
        _note(progress, *NOT_FOUND)
        return []
    if progress.hops >= MOST_HOPS:
        _note(progress, 482, "Loop Detected")
        return []
    progress.callee = progress.callee or goto.target
    called = goto.diverted or tenant.menus.get(goto.target, "")
    return [Serve("ivr", tenant.name, goto.kind, goto.target, called)]  # type: ignore[arg-type]  # not "dialled"


def _dialled(progress: Progress, goto: Goto, tenant: Tenant, tables: Tables) -> Next:
    target = goto.target
    if tables.user(tenant.name, target) is not None:
        return [Goto("extension", target, goto.authority, goto.diverted)]
    if target in tenant.ring_groups:
        return [Goto("ring_group", target, goto.authority, goto.diverted)]
    menu = next((name for name, direct in tenant.menus.items() if direct == target), "")
    if menu and target:
        return [Goto("menu", menu, goto.authority, goto.diverted)]
    own = goto.authority.extension
    if own and target == tenant.voicemail.extension:
        return [Goto("voicemail", own, goto.authority, goto.diverted)]
    if own and target == tenant.prompts.extension:
        if own in tenant.prompts.users:
            return [Goto("prompts", own, goto.authority, goto.diverted)]
        _note(progress, 403, "Forbidden")
        return []
    number = dialling.digits(target)
    if number is None:
        _note(progress, *NOT_FOUND)
        return []
    return _number(progress, goto, tenant, tables, number)


def _extension(progress: Progress, goto: Goto, tenant: Tenant, tables: Tables) -> Next:
    user = tables.user(tenant.name, goto.target)
    if user is None or not user.enabled:
        _note(progress, *NOT_FOUND)
        return []
    progress.callee = progress.callee or user.extension
    forward = user.forward
    if forward.always is not None:
        return [_forward(forward.always, user, tenant, goto)]
    if user.do_not_disturb:
        _note(progress, 486, "Busy Here")
        return [_forward(forward.busy, user, tenant, goto)] if forward.busy else []
    timeout = forward.no_answer_after if forward.no_answer else RING
    return [Ring(tenant.name, (user.extension,), max(1, timeout), True)]


def _group(tenant: Tenant, goto: Goto, group: RingGroup) -> Next:
    timeout = max(1, group.timeout)
    steps: Next = []
    if group.strategy == "simultaneous":
        members = tuple(dict.fromkeys(member.extension for member in group.members))
        steps.append(Ring(tenant.name, members, timeout))
    elif group.strategy == "sequential":
        steps += [Ring(tenant.name, (member.extension,), timeout) for member in group.members]
    else:
        for priority in sorted({member.priority for member in group.members}):
            together = (m.extension for m in group.members if m.priority == priority)
            steps.append(Ring(tenant.name, tuple(dict.fromkeys(together)), timeout))
    if group.then is not None:
        authority = Authority(tenant.name, "", "international", tenant.main_number)
        steps.append(Goto(group.then.kind, group.then.target, authority, goto.diverted))
    return steps


def _number(progress: Progress, goto: Goto, tenant: Tenant, tables: Tables, dialled: str) -> Next:
    number = dialling.normalise(dialled, tenant.plan)
    if number is not None and (found := tables.number(number)) is not None:
        owner = tables.tenant(found.tenant)
        mark = f"n:{number}"
        if owner is not None and mark not in progress.seen:
            progress.seen.append(mark)
            if owner.name != tenant.name and not _may(goto.authority, number, tenant):
                _note(progress, 403, "Forbidden")
                return []
            authority = Authority(owner.name, "", "international", owner.main_number)
            return [Goto(found.destination.kind, found.destination.target, authority, number)]
        _note(progress, 482, "Loop Detected")
        return []
    for candidate in (number, dialling.without_outside(dialled, tenant.plan)):
        if candidate is None:
            continue
        route = tables.routes.find(candidate, tenant.name)
        if route is None:
            continue
        if f"n:{candidate}" in progress.seen:
            _note(progress, 482, "Loop Detected")
            return []
        progress.seen.append(f"n:{candidate}")
        if not _may(goto.authority, candidate, tenant):
            _note(progress, 403, "Forbidden")
            return []
        trunks = dialling.outbound(route, candidate, tables.trunks).trunks
        if not trunks:
            _note(progress, 503, "No Trunk")
            return []
        progress.callee = progress.callee or candidate
        return [Dial(trunks, candidate, goto.authority.number, goto.diverted)]
    _note(progress, *NOT_FOUND)
    return []


def _may(authority: Authority, number: str, tenant: Tenant) -> bool:
    return dialling.allows(authority.permission, dialling.permission_for(number, tenant.plan))


def _forward(destination: Destination, user: User, tenant: Tenant, goto: Goto) -> Goto:
    """Forwarded calls go on with the rights of who forwards them."""
    return Goto(
        "dialled" if destination.kind == "number" else destination.kind,
        destination.target,
        authority_of(user, tenant),
        goto.diverted or user.caller_id or tenant.main_number,
    )


def authority_of(user: User, tenant: Tenant) -> Authority:
    """What a user may do and what is shown of him outside."""
    number = user.caller_id or tenant.main_number
    return Authority(tenant.name, user.extension, user.permission, number)


def _after_dial(progress: Progress, dial: Dial, outcome: Outcome) -> None:
    if outcome.kind == "redirected":
        # A carrier that sends our users elsewhere sends them past every limit and permission.
        _note(progress, 503, "Trunk Redirects")
    elif outcome.code != 408:
        _note(progress, outcome.code, outcome.reason)
    elif outcome.kind == "no-answer":
        _note(progress, 480, "Temporarily Unavailable")
    else:
        _note(progress, 503, "Trunk Does Not Answer")
    others = dial.trunks[1:]
    # The carrier has spoken for the number where it says 4xx or 6xx; then another one is no use.
    silent = outcome.kind in ("unavailable", "full", "unregistered") and outcome.code not in (
        404,
        410,
        604,
    )
    late = outcome.kind == "no-answer" and outcome.code == 408
    insisting = dial.emergency and outcome.kind not in ("busy", "declined")
    if others and (silent or late or insisting):
        progress.pending.insert(
            0, Dial(others, dial.number, dial.shown, dial.diverted, dial.emergency)
        )


def _after_serve(progress: Progress, serve: Serve, outcome: Outcome) -> None:
    silent = outcome.kind == "unavailable" or (outcome.kind == "no-answer" and outcome.code == 408)
    _note(progress, *((503, "No Server Answers") if silent else _told(outcome)))
    if silent and outcome.via and len(serve.tried) + 1 < SERVERS:
        tried = (*serve.tried, outcome.via)
        again = Serve(serve.role, serve.tenant, serve.kind, serve.target, serve.called, tried)
        progress.pending.insert(0, again)


def _after_ring(progress: Progress, ring: Ring, outcome: Outcome, tables: Tables) -> None:
    kind = outcome.kind
    _note(progress, *_told(outcome))
    if not ring.follow:
        return
    tenant = tables.tenant(ring.tenant)
    user = tables.user(ring.tenant, ring.extensions[0])
    if tenant is None or user is None:
        return
    goto = Goto("extension", user.extension, authority_of(user, tenant))
    if kind == "redirected":
        for contact, host in reversed(outcome.contacts[:5]):
            if tables.tenant_of(host) is tenant or host == "":
                target = Goto("dialled", contact, goto.authority, goto.authority.number)
                progress.pending.insert(0, target)
        return
    forward = user.forward
    then = {
        "unregistered": forward.not_registered,
        "unavailable": forward.not_registered or forward.no_answer,
        "busy": forward.busy,
        "full": forward.busy,
        "declined": forward.busy,
        "no-answer": forward.no_answer,
    }.get(kind)
    if then is not None:
        progress.pending.insert(0, _forward(then, user, tenant, goto))


def _told(outcome: Outcome) -> tuple[int, str]:
    """What the caller is told where nothing more can be tried."""
    if outcome.kind in ("unregistered", "no-answer"):
        return 480, "Temporarily Unavailable"
    if outcome.kind in ("busy", "full"):
        return 486, "Busy Here"
    if outcome.kind == "redirected":
        # Followed as far as allowed; a contact that is not followed is none of the caller's.
        return 480, "Temporarily Unavailable"
    if outcome.kind == "unavailable" and outcome.code in (408, 404, 410, 503):
        return 480, "Temporarily Unavailable"
    return outcome.code, outcome.reason


def _note(progress: Progress, code: int, reason: str) -> None:
    # Busy says more than what came of trying others after it.
    if progress.code == 486 and code in (404, 408, 480):
        return
    progress.code, progress.reason = code, reason


def _ending(progress: Progress, tables: Tables) -> Announce | Refuse:
    refuse = Refuse(progress.code, progress.reason)
    announcement = _ANNOUNCEMENT.get(progress.code)
    # Tenants' users hear why; a carrier wants the status and plays its own.
    silent = progress.announced or progress.plain or not progress.caller.tenant
    if announcement is None or silent:
        return refuse
    progress.announced = True
    tenant = tables.tenant(progress.caller.tenant)
    language = tenant.language if tenant is not None else "en"
    return Announce(announcement, language, refuse.code, refuse.reason)


_REASONS = {
    403: "Forbidden",
    404: "Not Found",
    480: "Temporarily Unavailable",
    486: "Busy Here",
}
