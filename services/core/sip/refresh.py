"""The session timer of a call, run: RFC 4028."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.core.sip import session_timer as timers
from services.core.sip.endpoint import Timer
from services.core.sip.message import Response
from services.core.sip.session_timer import SessionTimer

if TYPE_CHECKING:
    from services.core.sip.call import Call


class Refresh:
    """Refreshes the session, or gives the other party up that does not."""

    __slots__ = ("_call", "_timer", "minimum", "state")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._timer: Timer | None = None
        self.state = SessionTimer()
        self.minimum = timers.MINIMUM

    @property
    def wanted(self) -> int:
        """Seconds; 0 for none."""
        return self._call.agent.session_expires

    def request_fields(self, least: int) -> list[tuple[str, str]]:
        """For a request that refreshes."""
        self.minimum = max(self.minimum, least)
        return self.state.request_fields(self.wanted, self.minimum)

    def take(self, state: SessionTimer) -> None:
        """A 2xx set it, or set it anew."""
        self.stop()
        self.state = state
        if state.interval and self._call.state != "ended":
            endpoint = self._call.agent.endpoint
            self._timer = endpoint.call_at(state.due(endpoint.now), self._due)

    def stop(self) -> None:
        """The call is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        call = self._call
        self._timer = None
        if not self.state.ours:
            call.fail("session expired")
        elif "update" in call.peer_allows:
            self._update()
        else:
            call.agent.start_soon(call.offers.refresh)

    def _update(self) -> None:
        call = self._call
        fields = [*call.own_fields(), *self.request_fields(self.minimum)]
        call.ask("UPDATE", fields).then(self._updated)

    def _updated(self, response: Response | None) -> None:
        call = self._call
        if call.state == "ended":
            return
        if response is None or response.status in (408, 481):
            call.fail("session refresh failed")
        elif response.status == 422:
            self.minimum = timers.minimum(response)
            self._update()
        elif response.status < 300:
            call.dialog.refresh(response)
            self.take(timers.of_response(response))
        else:  # refused for now: the session lives on until it expires
            self.take(self.state)
