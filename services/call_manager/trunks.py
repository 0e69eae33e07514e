"""What Kamailio is told of trunks: registrations to make, credentials to answer with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from services.call_manager.routing.launch import host
from services.call_manager.routing.route_signature import trunk_contact
from services.call_manager.settings import CallManagerSettings
from services.core.configuration import Transport, Trunk, encode

ONLINE = 1 << 2
"""Bit of ``flags`` in the answer to ``uac.reg_dump``: the registrar has said 200."""
ONGOING = 1 << 1
"""Bit that says that a REGISTER of it is on its way."""
PORTS: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}

RegistrationState = Literal["none", "registered", "registering", "no password", "no address"]


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One of Kamailio's uac registrations, the fields that we give it.

    ``uuid`` is the user part of the Contact, so routing knows by it whose calls come in.
    """

    uuid: str
    username: str
    domain: str
    realm: str
    password: str
    proxy: str
    expires: int
    contact: str

    def parameters(self) -> tuple[str | int, ...]:
        """Those of ``uac.reg_add``, in its order; ``.`` stands for nothing (no HA1)."""
        return (
            self.uuid,
            self.username,
            self.domain,
            self.username,
            self.domain,
            self.realm,
            self.username,
            self.password,
            ".",
            self.proxy,
            self.expires,
            0,
            0,
            "",
            self.contact,
        )


class Steps(msgspec.Struct, frozen=True):
    """What to tell Kamailio: uuids to remove first, registrations to add then.

    ``unregister`` are those to remove that the carrier has: it is told before they go.
    """

    remove: tuple[str, ...]
    add: tuple[Registration, ...]
    unregister: tuple[str, ...] = ()


def wanted(
    settings: CallManagerSettings,
    key: bytes,
    trunks: Iterable[Trunk],
    passwords: Mapping[str, str],
    addresses: Mapping[str, tuple[str, ...]],
    ports: Mapping[str, int] | None = None,
) -> dict[str, Registration]:
    """Registrations by trunk. ``passwords`` is by secret, ``addresses`` and ``ports`` by trunk.

    A trunk whose password or address is not known is left out.
    """
    found: dict[str, Registration] = {}
    for trunk in trunks:
        password = passwords.get(trunk.register.password.secret) if trunk.register else None
        where = addresses.get(trunk.name)
        if trunk.register is None or not password or not where:
            continue
        found[trunk.name] = Registration(
            uuid=trunk_contact(key, trunk.name),
            username=trunk.register.username,
            domain=host(trunk.host),
            realm=trunk.register.realm,
            password=password,
            proxy=target(trunk, where[0], (ports or {}).get(trunk.name, 0)),
            expires=trunk.register.expires,
            contact=_contact(settings, trunk.transport),
        )
    return found


def target(trunk: Trunk, address: str, port: int = 0) -> str:
    """The URI of a trunk's peer at a resolved address and port, 0 for the usual one."""
    port = trunk.port or port or PORTS[trunk.transport]
    return f"sip:{host(address)}:{port};transport={trunk.transport}"


def steps(want: Iterable[Registration], dump: Iterable[Mapping[str, Any]]) -> Steps:
    """From what ``uac.reg_dump`` says to what is wanted; nothing where they agree."""
    there = {str(entry.get("l_uuid", "")): entry for entry in dump}
    by_uuid = {registration.uuid: registration for registration in want}
    remove = [
        uuid
        for uuid, entry in there.items()
        if uuid not in by_uuid or not _same(by_uuid[uuid], entry)
    ]
    add = [one for uuid, one in by_uuid.items() if uuid not in there or uuid in remove]
    known = tuple(uuid for uuid in remove if int(there[uuid].get("flags", 0)) & ONLINE)
    return Steps(tuple(remove), tuple(add), known)


def unregistering(uuids: Iterable[str], dump: Iterable[Mapping[str, Any]]) -> bool:
    """Whether Kamailio still waits for the carrier's answer to one of these un-registrations."""
    flags = {str(entry.get("l_uuid", "")): int(entry.get("flags", 0)) for entry in dump}
    return any(flags.get(uuid, 0) & ONGOING for uuid in uuids)


def states(
    trunks: Iterable[Trunk],
    want: Mapping[str, Registration],
    dump: Iterable[Mapping[str, Any]],
    addresses: Mapping[str, tuple[str, ...]],
) -> dict[str, RegistrationState]:
    """Each trunk's registration, for people."""
    flags = {str(entry.get("l_uuid", "")): int(entry.get("flags", 0)) for entry in dump}
    found: dict[str, RegistrationState] = {}
    for trunk in trunks:
        if trunk.register is None:
            found[trunk.name] = "none"
        elif trunk.name in want:
            online = flags.get(want[trunk.name].uuid, 0) & ONLINE
            found[trunk.name] = "registered" if online else "registering"
        else:
            found[trunk.name] = "no password" if addresses.get(trunk.name) else "no address"
    return found


def credentials(trunks: Iterable[Trunk], passwords: Mapping[str, str]) -> dict[str, str]:
    """Kamailio's hash table ``trunk_auth``: trunk → JSON of username, password and realm."""
    found: dict[str, str] = {}
    for trunk in trunks:
        if trunk.register and (password := passwords.get(trunk.register.password.secret)):
            value = {
                "username": trunk.register.username,
                "password": password,
                "realm": trunk.register.realm,
            }
            found[trunk.name] = encode(value).decode()
    return found


def _same(registration: Registration, entry: Mapping[str, Any]) -> bool:
    # A registrar's 423 makes Kamailio raise the expiry by itself: not a difference of ours.
    return (
        entry.get("auth_username"),
        entry.get("auth_password"),
        entry.get("r_domain"),
        entry.get("realm"),
        entry.get("auth_proxy"),
        entry.get("contact_addr"),
    ) == (
        registration.username,
        registration.password,
        registration.domain,
        registration.realm,
        registration.proxy,
        registration.contact,
    ) and int(entry.get("expires", 0)) >= registration.expires


def _contact(settings: CallManagerSettings, transport: Transport) -> str:
    where = host(settings.public_address or settings.vip)
    if transport == "udp":
        return f"{where}:{settings.sip_port}"
    port = settings.tls_port if transport == "tls" else settings.sip_port
    return f"{where}:{port};transport={transport}"
