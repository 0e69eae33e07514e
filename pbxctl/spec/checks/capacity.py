"""Whether the servers carry what the users may ask for. Warnings only: it may be meant so."""

from __future__ import annotations

from pbxctl.spec.draft import Draft, Report

ROLES = {"media": "media server", "call-manager": "call manager"}


def check(draft: Draft, report: Report) -> None:
    """Compare what users may call at once with all servers, and with the largest one away."""
    if not draft.complete or not draft.tenants:
        return
    need = 0
    for _, tenant in draft.tenants:
        users = sum(user.enabled for user in tenant.users)
        need += min(users, tenant.max_calls or users)
    if draft.max_calls:
        need = min(need, draft.max_calls)
    for role, noun in ROLES.items():
        sizes = [server.calls(role) for _, server in draft.servers if role in server.roles]
        if not sizes:
            continue
        # Of the call managers one carries everything.
        total = min(sizes) if role == "call-manager" else sum(sizes)
        rest = total - max(sizes) if role == "media" and len(sizes) > 1 else total
        if need <= rest:
            continue
        servers = f"{len(sizes)} {noun}{'s' if len(sizes) > 1 else ''}"
        carry = f"{servers} {'carry' if len(sizes) > 1 else 'carries'} {total} calls"
        if rest != total:
            carry += f", and {rest} when one is away"
        users = "users" if need != 1 else "user"
        tenants = f"{len(draft.tenants)} tenant{'s' if len(draft.tenants) > 1 else ''}"
        report.warn(("servers",), f"{carry}; {need} {users} of {tenants} may call at once")
