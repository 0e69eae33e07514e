"""A SIP user agent on trio: `docs/sip.md` shows it in a minute."""

from services.core.sip import sdp
from services.core.sip.agent import UserAgent
from services.core.sip.bridge import bridge
from services.core.sip.call import Call
from services.core.sip.dialling import Progress
from services.core.sip.digest import Credentials
from services.core.sip.errors import (
    CallEndedError,
    CallRefusedError,
    MalformedError,
    RequestFailedError,
    SipError,
    StateError,
)
from services.core.sip.events import (
    Answered,
    Ended,
    Event,
    InfoReceived,
    MessageReceived,
    NotifyReceived,
    Offered,
    Referred,
)
from services.core.sip.exchange import Flow
from services.core.sip.invitation import Invitation
from services.core.sip.message import Headers, Request, Response
from services.core.sip.subscription import Notifier, Subscription
from services.core.sip.uri import Address, Uri, parse_address, parse_uri

__all__ = [
    "Address",
    "Answered",
    "Call",
    "CallEndedError",
    "CallRefusedError",
    "Credentials",
    "Ended",
    "Event",
    "Flow",
    "Headers",
    "InfoReceived",
    "Invitation",
    "MalformedError",
    "MessageReceived",
    "Notifier",
    "NotifyReceived",
    "Offered",
    "Progress",
    "Referred",
    "Request",
    "RequestFailedError",
    "Response",
    "SipError",
    "StateError",
    "Subscription",
    "Uri",
    "UserAgent",
    "bridge",
    "parse_address",
    "parse_uri",
    "sdp",
]
