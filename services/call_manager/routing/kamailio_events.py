"""What is told of a call and what it holds: its record, its counters, its events, over KSR.

A call's `Record` is a dialog variable. Counters are taken when a call or a leg starts and given
back when the dialog module says, once, that it ended.

A dialog of another term (kamailio_cluster.py) is a leftover: the call went on, or ended, at another
Call Manager, which has told of it. Of such a one nothing is told, counted or freed.
"""

from __future__ import annotations

from typing import Any, Literal

import KSR
import msgspec

from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import worker
from services.call_manager.routing.identity import END
from services.call_manager.routing.kamailio_request import values
from services.core.events import (
    Answered,
    Direction,
    Ended,
    Party,
    Quality,
    Ringing,
    Side,
    Started,
    end_id,
    new_id,
)

CALLS = "calls"
EVERYTHING = "all"


class Record(msgspec.Struct, array_like=True):
    """What has to be known of a call until it ends.

    ``held`` are the counters it holds; of these ``ringing`` are of users being rung, and
    ``dialling`` is of the trunk being tried.
    ``payer`` and ``peer`` are the caller's and the answering side's ``tenant/extension``, empty
    for trunks. ``cseq`` is the INVITE's number, ``term`` that in which the dialog was made,
    ``contact`` the caller's Contact as the other party gets it. ``within`` is the Call-ID of
    the call that this one is a part of.
    """

    started: float
    tenant: str
    direction: Direction
    caller: str
    callee: str
    call_id: str
    tag: str
    trunk: str = ""
    media: str = ""
    payer: str = ""
    peer: str = ""
    held: list[str] = []
    ringing: list[str] = []
    dialling: str = ""
    servers: list[str] = []
    answered: float = 0.0
    cseq: str = ""
    term: str = ""
    contact: str = ""
    within: str = ""


_decoder = msgspec.json.Decoder(Record)
_encode = msgspec.json.Encoder().encode


def load() -> Record | None:
    """The current dialog's record; None where it has none, or is a leftover."""
    record = _kept()
    return record if record is not None and cluster.is_current(record.term) else None


def is_known() -> bool:
    """Whether the current request is of a dialog that tells its own end, or just has told it."""
    if KSR.dialog.is_known_dlg() < 0:
        return False
    record = _kept()
    return record is None or cluster.is_current(record.term)


def _kept() -> Record | None:
    text = KSR.dialog.var_get("record")
    return _decoder.decode(text) if text else None


def save(record: Record) -> None:
    KSR.dialog.var_sets("record", _encode(record).decode())


def take(held: list[str], key: str, limit: int) -> bool:
    """Count one more of ``key``; False, and nothing counted, where that is above ``limit``."""
    count = KSR.htable.sht_inc(CALLS, key)
    if limit and count + cluster.elsewhere(key) > limit:
        KSR.htable.sht_dec(CALLS, key)
        return False
    held.append(key)
    return True


def give_back(keys: list[str]) -> None:
    for key in keys:
        KSR.htable.sht_dec(CALLS, key)
    keys.clear()


def release(record: Record, keys: list[str]) -> None:
    """Give back these of what a call holds."""
    for key in list(keys):
        if key in record.held:
            record.held.remove(key)
            KSR.htable.sht_dec(CALLS, key)


def release_stage(record: Record) -> None:
    """Give back what the stage that failed held."""
    release(record, [*record.ringing, record.dialling])
    record.ringing, record.dialling = [], ""


def started(record: Record) -> None:
    worker.events.append(
        Started(
            id=new_id(),
            call=record.call_id,
            time=record.started,
            server=worker.settings.server,
            tenant=record.tenant,
            direction=record.direction,
            caller=record.caller,
            callee=record.callee,
            trunk=record.trunk,
            media=record.media,
            term=record.term,
            tag=record.tag,
            cseq=record.cseq,
            held=tuple(record.held),
            within=record.within,
        )
    )


def ringing(stage: Ringing) -> None:
    """What another Call Manager needs to go on with this stage of a call."""
    worker.events.append(stage)


def refused(record: Record, code: int, reason: str) -> None:
    """A call that went nowhere: it started and ended at once."""
    started(record)
    _ended(record, code, reason, "system", answered=False, quality=None)


def say_end(code: int, reason: str, by: Party) -> None:
    """Note why the current call is about to end; `ended` tells it."""
    KSR.dialog.var_sets("end", f"{code}|{by}|{reason}")


def answered() -> None:
    """The dialog module: a 2xx is on its way to the caller."""
    record = load()
    if record is None or record.answered:
        return
    record.answered = worker.now()
    who, server, kinds, mid = (KSR.dialog.var_get("won") or "|||").split("|", 3)
    winner = f"u:{record.tenant}/{who}"
    release(record, [key for key in record.ringing if key != winner])
    record.ringing = []
    record.peer = f"{record.tenant}/{who}" if KSR.dialog.var_get("won_user") == "1" else ""
    if server:
        for other in record.servers:
            if other != server:
                media.forget(other, record.call_id, record.tag)
                release(record, [f"m:{other}"])
        record.servers = [server]
    save(record)
    worker.events.append(
        Answered(
            id=new_id(),
            call=record.call_id,
            time=record.answered,
            server=worker.settings.server,
            tenant=record.tenant,
            term=record.term,
            by=who,
            media=server,
            kinds=kinds,
            mid=mid,
            held=tuple(record.held),
            **_sides(record),
        )
    )


def move(server: str) -> None:
    """The media of the current call are about to be led anew, at this server."""
    record = load()
    if record is not None and server not in record.servers:
        record.servers.append(server)
        take(record.held, f"m:{server}", 0)
        save(record)


def moved(server: str) -> None:
    """They are there, and nowhere else."""
    record = load()
    if record is None:
        return
    release(record, [f"m:{other}" for other in record.servers if other != server])
    record.servers = [server]
    save(record)


def _sides(record: Record) -> dict[str, Any]:
    """Both parties of the call that the current reply answers."""
    contact = KSR.dialog.var_get("contact") or ""
    return {
        "caller": Side(tag=record.tag, target=record.contact),
        "callee": Side(tag=KSR.pv.gete("$tt"), target=contact),
        "routes": tuple(values("Record-Route")),
        "payer": record.payer,
        "peer": record.peer,
    }


def ended(*, answered: bool) -> None:
    """The dialog module: the call is over. It says so once a dialog."""
    record = load()
    if record is None:
        return
    give_back(record.held)
    quality = None
    for server in record.servers:
        quality = media.forget(server, record.call_id, record.tag) or quality
    code, reason, by = _why(record, answered=answered)
    _ended(record, code, reason, by, answered=answered, quality=quality)
    # A dialog stays known for a while after its end; nothing may be told twice.
    KSR.dialog.var_rm("record")


def ended_unknown(call_id: str, tag: str, by: Party, quality: Quality | None) -> None:
    """A BYE of a call that was set up before a restart, or by another Call Manager.

    ``tag`` is the caller's. The agent knows since when it was up, and whether its end was told
    already: a BYE that is sent again says nothing new.
    """
    ours = _by_us()
    worker.events.append(
        Ended(
            id=end_id(call_id, tag),
            call=call_id,
            time=worker.now(),
            server=worker.settings.server,
            tenant="",
            term=cluster.term(),
            code=200,
            reason=KSR.hdr.gete(END if ours else "Reason")[:100] or "Normal Clearing",
            by="system" if ours else by,
            answered=True,
            quality=quality,
        )
    )


def _why(record: Record, *, answered: bool) -> tuple[int, str, Party]:
    said = KSR.dialog.var_get("end")
    if said:
        code, by, reason = said.split("|", 2)
        return int(code), reason, _party(by)
    if answered:
        if _by_us():
            return 200, KSR.hdr.gete(END)[:100], "system"
        if not KSR.is_method("BYE") or KSR.pv.get("$ci") != record.call_id:
            # A made-up message: the dialog timed out or was ended from outside.
            return 200, "Ended by the System", "system"
        # What the BYE says of itself (RFC 3326).
        reason = KSR.hdr.gete("Reason")[:100] or "Normal Clearing"
        return 200, reason, "caller" if KSR.pv.get("$ft") == record.tag else "callee"
    status = KSR.pv.get("$rs")
    code = int(status) if status else 408
    if code == 487:
        return 487, "Cancelled", "caller"
    phrase = str(KSR.pv.get("$rr") or "")
    # A reply of our own is not shown here: it has no phrase.
    by_us = None if phrase else KSR.htable.sht_get("ending", record.call_id)
    if by_us is not None:
        return 480, str(by_us), "system"
    if 300 <= code < 700:
        return code, phrase, "callee"
    return 408, "Request Timeout", "system"


def _by_us() -> bool:
    """Whether the current request is an agent's (hangup.py), our own or another one's."""
    return KSR.hdr.is_present(END) > 0 and cluster.is_agent()


def _party(by: str) -> Literal["caller", "callee", "system"]:
    return by if by in ("caller", "callee") else "system"  # type: ignore[return-value]  # just tested


def _ended(
    record: Record, code: int, reason: str, by: Party, *, answered: bool, quality: Quality | None
) -> None:
    end = worker.now()
    worker.events.append(
        Ended(
            id=end_id(record.call_id, record.tag, "" if answered else record.cseq),
            call=record.call_id,
            time=end,
            server=worker.settings.server,
            tenant=record.tenant,
            term=record.term,
            code=code,
            reason=reason,
            by=by,
            answered=answered,
            duration=round(end - record.answered, 3) if record.answered else 0.0,
            quality=quality,
        )
    )
