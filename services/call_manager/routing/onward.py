"""A call that an application server makes for one of its callers: with whose rights. Pure."""

from __future__ import annotations

from services.call_manager.routing import stages
from services.call_manager.routing.call import Authority, Caller, Onward, Request
from services.call_manager.tables import Tables
from services.core.configuration import Destination
from services.core.passport import Passport


def request_of(found: Passport, tables: Tables) -> Request | None:
    """What is asked for; None where it may not be: the tenant or the user has gone since.

    Where the call goes was set up by the tenant's administrator, or is an extension of the tenant:
    the tenant's rights count. What the caller has chosen himself he may call only if he could dial
    it.
    """
    tenant = tables.tenant(found.tenant)
    if tenant is None:
        return None
    authority = Authority(tenant.name, "", "international", tenant.main_number)
    if found.own:
        user = tables.user(tenant.name, found.extension)
        if user is None or not user.enabled:
            return None
        authority = stages.authority_of(user, tenant)
    owner = tenant.name if found.extension else ""
    return Request(
        caller=Caller(owner, found.extension, "", found.caller, found.name, found.anonymous),
        authority=authority,
        dialled=found.target,
        onward=Onward(
            Destination(kind=found.kind, target=found.target),
            found.called,
            found.hops,
            found.within,
        ),
    )
