"""Who is shown to whom: From, P-Asserted-Identity, Privacy, Diversion. Pure.

RFC 3323, 3325, 5806.
"""

from __future__ import annotations

import re

import msgspec

from services.call_manager.routing import dialling
from services.call_manager.routing.call import Caller, Dial
from services.core.configuration import Tenant, Trunk
from services.core.passport import HEADER

END = "X-PBX-End"
"""Why this PBX ends a call: in a BYE of the agent's, to our own Kamailio and no further."""
ANCHOR = "X-PBX-Anchor"
"""In an INVITE of the agent's that leads a call's media anew, and in its ACK."""
ANONYMOUS = "sip:anonymous@anonymous.invalid"
STRIPPED = (
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "P-Charging-Vector",
    "X-PBX-Final",
    HEADER,
    END,
    ANCHOR,
)
"""Header fields that nobody outside may set."""

_ADDRESS = re.compile(r"<\s*(?:sips?|tel):([^@;>]+)|^\s*(?:sips?|tel):([^@;>\s]+)")


class Shown(msgspec.Struct, frozen=True):
    """What a leg is shown. An empty ``uri`` leaves From as it came; ``headers`` are whole lines."""

    display: str
    uri: str
    headers: tuple[str, ...]


def is_private(privacy: str, from_user: str, from_host: str) -> bool:
    """Whether the caller asks not to be shown (RFC 3323 section 4.2, RFC 3325 section 9.3)."""
    wanted = {value.strip().lower() for value in privacy.split(";")}
    hidden = from_user.lower() == "anonymous" or from_host.lower() == "anonymous.invalid"
    return hidden or bool(wanted & {"id", "user", "header"})


def number_in(header: str) -> str:
    """The number or user part of the first URI in a From or P-Asserted-Identity value, or ""."""
    match = _ADDRESS.search(header[:1024])
    return (match[1] or match[2]).strip() if match else ""


def trunk_caller(asserted: str, from_header: str, trunk: Trunk, *, private: bool) -> Caller:
    """The caller of a call from a trunk; a number that reads as E.164 gets its plus."""
    raw = number_in(asserted) or number_in(from_header)
    number = next(dialling.from_trunk(raw, trunk), raw if dialling.digits(raw) else "")
    return Caller(trunk=trunk.name, number=number, anonymous=private or not number)


def to_phone(caller: Caller, tenant: Tenant) -> Shown:
    """What a user of ``tenant`` is shown."""
    domain = tenant.domains[0]
    if caller.anonymous:
        return Shown('"Anonymous"', ANONYMOUS, ("Privacy: id\r\n",))
    if caller.tenant == tenant.name:
        uri = f"sip:{caller.extension}@{domain}"
        return Shown("", "", (f"P-Asserted-Identity: {_quoted(caller.name)}<{uri}>\r\n",))
    number = caller.number
    if not number:
        return Shown('"Anonymous"', ANONYMOUS, ())
    uri = f"sip:{number}@{domain}"
    return Shown(_quoted(caller.name).strip(), uri, (f"P-Asserted-Identity: <{uri}>\r\n",))


def to_trunk(caller: Caller, dial: Dial, trunk: Trunk, host: str) -> Shown:
    """What a carrier is shown: the asserted number is that of who pays for the call."""
    asserted = _form(trunk.caller_id or dial.shown, trunk)
    headers: list[str] = []
    if asserted:
        headers.append(f"P-Asserted-Identity: <sip:{asserted}@{host}>\r\n")
    if dial.diverted:
        diverted = _form(dial.diverted, trunk)
        headers.append(f"Diversion: <sip:{diverted}@{host}>;reason=unknown\r\n")
    if caller.anonymous:
        return Shown('"Anonymous"', ANONYMOUS, (*headers, "Privacy: id\r\n"))
    # A forwarded call still shows who calls.
    number = _form(caller.number, trunk) if dial.diverted and caller.number else asserted
    if not number:
        return Shown('"Anonymous"', ANONYMOUS, tuple(headers))
    return Shown("", f"sip:{number}@{host}", tuple(headers))


def _form(number: str, trunk: Trunk) -> str:
    return number.removeprefix("+") if trunk.strip_plus else number


def _quoted(name: str) -> str:
    """A display name as a quoted string (RFC 3261 section 25.1), with a blank after it, or ""."""
    clean = "".join(c for c in name if c.isprintable()).replace("\\", "").replace('"', "'")
    return f'"{clean}" ' if clean else ""
