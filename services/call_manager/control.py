"""What the agent asks of Kamailio and tells it, over JSON-RPC. All raise RpcError."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from services.call_manager.calls import UNAVAILABLE
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.state import Kamailio
from services.core.store import Binding

CONFIRMED = 4
"""A dialog's states (dlg_hash.h): 1 and 2 before the answer, 3 without ACK, 4 with it, 5 over."""
OVER = 5
ENDED = "Ended by the Administrator"

DUMPED = 100
"""Contacts whose dump still fits a datagram, about 200 KiB, with room to spare."""

_STATISTICS = ("shmem:", "usrloc:", "dialog:", "core:", "tmx:")


async def statistics(rpc: Rpc) -> Kamailio:
    """Kamailio's own figures."""
    rows: list[str] = await rpc("stats.get_statistics", *_STATISTICS)
    found: dict[str, int] = {}
    for row in rows:
        name, _, value = row.partition(" = ")
        if value.lstrip("-").isdigit():
            found[name] = int(value)
    uptime: dict[str, Any] = await rpc("core.uptime")
    return Kamailio(
        running=True,
        uptime=int(uptime.get("uptime", 0)),
        contacts=found.get("usrloc:location_contacts", 0),
        users=found.get("usrloc:location_users", 0),
        shared_memory=found.get("shmem:total_size", 0),
        shared_memory_used=found.get("shmem:real_used_size", 0),
        dialogs=found.get("dialog:active_dialogs", 0),
        early_dialogs=found.get("dialog:early_dialogs", 0),
        statistics=found,
    )


async def loaded_sets(rpc: Rpc) -> dict[int, str]:
    """The rtpengine sets that Kamailio knows: number and control address."""
    rows = await rpc("rtpengine.show", "all")
    found: dict[int, str] = {}
    for row in rows or []:
        if int(row.get("disabled", 0)) != 2:
            found[int(row["set"])] = str(row["url"])
    return found


async def loads(rpc: Rpc) -> tuple[dict[str, int], dict[str, int]]:
    """Calls on each media server and on each application server, as routing counts them.

    Its own, and those begun elsewhere.
    """
    found: dict[str, dict[str, int]] = {"m:": {}, "a:": {}}
    for where in ("calls", "elsewhere"):
        for name, value in (await table(rpc, where)).items():
            counted = found.get(name[:2])
            if counted is not None:
                counted[name[2:]] = counted.get(name[2:], 0) + int(value)
    return found["m:"], found["a:"]


async def table(rpc: Rpc, name: str) -> dict[str, str]:
    """All of a hash table, which must be small."""
    rows = await rpc("htable.dump", name)
    return {str(entry["name"]): str(entry["value"]) for row in rows or [] for entry in row["slot"]}


async def get(rpc: Rpc, name: str, key: str) -> tuple[str, str] | None:
    """One entry of a hash table and when it expires, local time; None if it is not there."""
    try:
        answer = await rpc("htable.get", name, key)
    except RpcError as error:
        if "doesn't exist" in str(error):
            return None
        raise
    item = answer["item"]
    return str(item["value"]), str(item["expire"])


async def put(rpc: Rpc, name: str, entries: Mapping[str, str]) -> None:
    """Make a small hash table hold exactly these."""
    there = await table(rpc, name)
    for key in there.keys() - entries.keys():
        await rpc("htable.delete", name, key)
    for key, value in entries.items():
        if there.get(key) != value:
            await rpc("htable.sets", name, key, value)


class Dialog(msgspec.Struct, frozen=True, kw_only=True):
    """One of Kamailio's dialogs; ``tag`` and ``cseq`` are the caller's."""

    entry: int
    id: int
    state: int
    cseq: str
    tag: str


async def dialogs(rpc: Rpc, call_id: str) -> list[Dialog]:
    """The dialogs of a Call-ID that are not over."""
    answer = await rpc("dlg.dlg_list", call_id)
    rows = answer if isinstance(answer, list) else [answer] if answer else []
    found = [
        Dialog(
            entry=int(row["h_entry"]),
            id=int(row["h_id"]),
            state=int(row["state"]),
            cseq=str(row["caller"]["cseq"]),
            tag=str(row["caller"]["tag"]),
        )
        for row in rows
    ]
    return [dialog for dialog in found if dialog.state < OVER]


async def is_answered(rpc: Rpc, call_id: str) -> bool:
    """Whether Kamailio has a call of this Call-ID that was answered."""
    return any(dialog.state >= CONFIRMED - 1 for dialog in await dialogs(rpc, call_id))


async def end(rpc: Rpc, call_id: str, reason: str) -> Literal["ended", "cancelled", "unknown"]:
    """End a call as Kamailio knows it: BYE to the Contacts that the parties of an answered one have
    written, which `hangup` does better; 480 and CANCEL while it rings.
    """
    result: Literal["ended", "cancelled", "unknown"] = "unknown"
    for dialog in await dialogs(rpc, call_id):
        if dialog.state >= CONFIRMED - 1:
            await rpc("dlg.end_dlg", dialog.entry, dialog.id)
            result = "ended"
        else:
            # An answer of our own ends the transaction and cancels what rings. A CANCEL alone would
            # look like a callee who refuses, and the call would go on to the next target.
            tag = secrets.token_hex(8)
            await rpc("htable.sets", "ending", call_id, reason)
            await rpc("tm.reply_callid", UNAVAILABLE, ENDED, call_id, dialog.cseq, tag, "", "")
            result = "cancelled"
    return result


async def lookup(rpc: Rpc, tenant: str, extension: str, now: float) -> list[Binding]:
    """One user's bindings as they are in memory."""
    try:
        answer = await rpc("ul.lookup", "location", f"{extension}@{tenant}")
    except RpcError as error:
        if "not found" in str(error) or "no contacts" in str(error):
            return []
        raise
    return _record(answer, now)


async def unbind(rpc: Rpc, tenant: str, extension: str) -> bool:
    """Take a user's bindings away, in memory and table; whether there were any."""
    try:
        await rpc("ul.rm", "location", f"{extension}@{tenant}")
    except RpcError as error:
        if "not found" in str(error).lower():
            return False
        raise
    return True


async def dump(rpc: Rpc, now: float) -> list[Binding]:
    """All bindings as they are in memory, by id; only where there are few (`DUMPED`)."""
    answer = await rpc("ul.dump")
    found: list[Binding] = []
    for domain in answer["Domains"]:
        for record in domain["Domain"]["AoRs"]:
            found += _record(record["Info"], now)
    return sorted(found, key=lambda binding: binding.id)


def _record(record: Any, now: float) -> list[Binding]:
    user, _, domain = str(record["AoR"]).partition("@")
    found: list[Binding] = []
    for row in record["Contacts"]:
        contact = row["Contact"]
        expires = contact["Expires"]
        if not isinstance(expires, int):
            continue  # "expired" or "deleted": it is on its way out
        found.append(
            Binding(
                id=_set(contact["Ruid"]),
                extension=user,
                domain=domain,
                contact=str(contact["Address"]),
                expires=now + expires,
                received=_set(contact["Received"]),
                path=_set(contact["Path"]),
                user_agent=_set(contact["User-Agent"]),
                socket=_set(contact["Socket"]),
                call_id=str(contact["Call-ID"]),
                instance=re.sub(r'[<>"]', "", _set(contact["Instance"])),
                modified=float(contact["Last-Modified"]),
            )
        )
    return found


def _set(value: Any) -> str:
    return "" if value == "[not set]" else str(value)
