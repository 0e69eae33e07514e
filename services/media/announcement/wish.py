"""What the Call Manager asks for in an INVITE for an announcement: pure.

In the header fields X-PBX-Language and X-PBX-Final, or in the URI,
``sip:busy@media1;lang=de;final=486``.
"""

from __future__ import annotations

import msgspec

from services.core.sip import Headers, Uri

FINALS = {"unknown-number": 404, "busy": 486, "unavailable": 480, "not-permitted": 403}
"""What an announcement ends with where the Call Manager asks for nothing else."""
DEFAULT_FINAL = 480


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """``final``: the final response after the announcement, 400 to 699."""

    announcement: str
    language: str
    final: int


def wish(called: Uri, headers: Headers) -> Wish:
    """Of an INVITE's Request-URI and header fields; what makes no sense counts as not said."""
    announcement = called.user.lower()
    code = (headers.get("x-pbx-final") or called.parameters.get("final", "")).strip()[:3]
    final = int(code) if code.isascii() and code.isdecimal() else 0
    return Wish(
        announcement=announcement,
        language=headers.get("x-pbx-language") or called.parameters.get("lang", ""),
        final=final if 400 <= final <= 699 else FINALS.get(announcement, DEFAULT_FINAL),
    )
