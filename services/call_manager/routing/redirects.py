"""The contacts of a 3xx reply (RFC 3261 section 8.1.3.4). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_CONTACTS = 5
_CONTACT = re.compile(
    r'\s*(?:"(?:[^"\\]|\\.)*"|[^",<;]*)\s*<(?P<uri>[^<>]*)>(?P<parameters>[^,]*)'
    r"|\s*(?P<bare>(?:sips?|tel):[^,;\s<>\"]+)(?P<rest>[^,]*)"
)
_URI = re.compile(
    r"sips?:(?:(?P<user>[^@:;?]+)(?::[^@]*)?@)?(?P<host>\[[^\]]*\]|[^:;?]+)", re.IGNORECASE
)
_TEL = re.compile(r"tel:(?P<number>[^;?]+)", re.IGNORECASE)
_Q = re.compile(r";\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)(?=[\s;,]|$)", re.IGNORECASE)


def contacts(header: str, is_here: Callable[[str], bool]) -> tuple[tuple[str, str], ...]:
    """User and host of each contact, best first, at most `MAX_CONTACTS`.

    The host is empty for this Call Manager's own (``is_here``) and for ``tel`` URIs, which name
    none. Contacts without a user part lead nowhere and are left out.
    """
    found: list[tuple[float, str, str]] = []
    position = 0
    while match := _CONTACT.match(header, position, 4096):
        position = match.end() + 1
        uri = (match["uri"] or match["bare"] or "").strip()
        parameters = match["parameters"] or match["rest"] or ""
        weight = _Q.search(parameters)
        q = float(weight[1]) if weight else 1.0
        if tel := _TEL.match(uri):
            found.append((q, tel["number"], ""))
        elif (sip := _URI.match(uri)) and sip["user"]:
            host = sip["host"].lower()
            found.append((q, sip["user"], "" if is_here(host) else host))
    found.sort(key=lambda contact: -contact[0])
    return tuple((user, host) for _, user, host in found[:MAX_CONTACTS])
