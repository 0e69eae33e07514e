"""What can go wrong in a call, as one tree.

SipError
├── MalformedError          text that is no SIP, no URI or no session description
├── CallRefusedError        the other party's final response was not 2xx
├── RequestFailedError      a request got no answer in time, or no connection could be made
├── CallEndedError          the call is over, so nothing can be asked of it
└── StateError              asked for at the wrong time, such as an offer while one is pending
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from services.core.sip.message import Response


class SipError(Exception):
    """Anything of the below."""


class MalformedError(SipError, ValueError):
    """It cannot be read; the message says what and where."""


class CallRefusedError(SipError):
    """A final response that is no success; ``response`` has its headers."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}")
        self.response = response
        self.status = response.status
        self.reason = response.reason


class RequestFailedError(SipError):
    """Nobody answered (RFC 3261 section 8.1.3.1), or there was no way to send."""


class CallEndedError(SipError):
    """The call was over when something was asked of it, or ended before the answer."""


class StateError(SipError):
    """RFC 3264 or RFC 3261 does not allow this now."""


def is_only(error: Exception, kind: type[Exception]) -> bool:
    """Whether it is of ``kind``, or a group of nothing else, as nurseries make them."""
    if isinstance(error, ExceptionGroup):
        return cast("ExceptionGroup[Exception]", error).split(kind)[1] is None
    return isinstance(error, kind)
