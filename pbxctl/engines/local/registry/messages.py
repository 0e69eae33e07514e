"""Requests and answers of the registry, without HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from pbxctl.engines.local.http import Reply, Request
from pbxctl.engines.local.registry.journal import Topic
from pbxctl.engines.local.registry.state import State


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``index`` and ``topic`` are set where the request may wait: what for, and beyond what."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    index: int | None = None
    topic: Topic | None = None

    def reply(self) -> Reply:
        """As it is sent."""
        headers = [(b"content-type", self.content_type.encode())]
        if self.index is not None:
            headers += [
                (b"x-consul-index", str(self.index).encode()),
                (b"x-consul-knownleader", b"true"),
                (b"x-consul-lastcontact", b"0"),
            ]
        return Reply(status=self.status, body=self.body, headers=tuple(headers))


def json_answer(value: Any, state: State | None = None, topic: Topic | None = None) -> Answer:
    """``value`` as JSON; with ``topic``, of a question that may wait."""
    index = state.journal.index_of(topic) if state and topic else None
    return Answer(body=msgspec.json.encode(value), index=index, topic=topic)


__all__ = ["Answer", "Request", "json_answer"]
