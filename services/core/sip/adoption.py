"""Going on with what another process exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.core.sip.call import Call
from services.core.sip.dialog import GAP
from services.core.sip.errors import MalformedError
from services.core.sip.exchange import Flow
from services.core.sip.export import read_call, read_invitation
from services.core.sip.invitation import Invitation
from services.core.sip.message import Request, parse

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent


def adopt_call(agent: UserAgent, exported: bytes) -> Call:
    """See `UserAgent.adopt`."""
    state = read_call(exported)
    call = Call(agent, state.dialog, state.negotiation)
    call.dialog.local_cseq += GAP
    call.state, call.peer_allows = "confirmed", frozenset(state.allows)
    agent.register(call)
    call.refresh.take(state.timer)
    return call


def adopt_invitation(agent: UserAgent, exported: bytes) -> Invitation:
    """See `UserAgent.adopt_invitation`."""
    state = read_invitation(exported)
    request = parse(state.invite)
    if not isinstance(request, Request) or request.problem is not None:
        raise MalformedError("no exported invitation: its INVITE cannot be read")
    source = Flow(*state.source)
    if source.transport != "udp":  # its connection is the other process's (section 18.2.2)
        source = source._replace(port=request.via.port or 5060)
    return Invitation(agent, agent.endpoint.adopt(request, source), state.dialog)
