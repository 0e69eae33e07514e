"""Tells phones of waiting messages: NOTIFY message-summary (RFC 3842).

Those that have subscribed (RFC 6665) are told in their dialogs, which routing keeps; the others
without a subscription, which phones take as their registrar's word: when the box changes, and when
they register.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec
import trio

from services.call_manager import control
from services.call_manager.routing import subscription
from services.call_manager.routing.subscription import Ask, Subscription
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.call_manager.vip import Vip
from services.core.store import Binding, Database, StoreError, voicemail
from services.core.store.voicemail import Box

log = logging.getLogger(__name__)

EVERY = 1.0
AT_ONCE = 50
"""Asked for in one step; when all phones register anew, lamps wait and calls do not."""
MOST = 100_000
"""That may wait."""
TABLE = "subscriptions"
EPOCH = 1_735_689_600
"""2025. NOTIFYs are numbered by the tenths of a second since, whoever sends them: numbers rise over
a change of Call Managers, and fit 31 bits until 2031 (RFC 3261 section 8.1.1.5)."""
REMEMBERED = 10_000
"""Numbers that were given lately; of older ones time itself sees that they rise."""

Uac = tuple[str, str, str, str, str, str]
"""Parameters of Kamailio's ``tm.t_uac_start``: method, Request-URI, next hop, socket, header fields
and body."""


class Waiting:
    """`run` and `listen` never return; the VIP's holder alone does something."""

    def __init__(
        self, settings: CallManagerSettings, state: State, database: Database, vip: Vip, rpc: Rpc
    ) -> None:
        self._path = settings.asks_socket
        self._state = state
        self._database = database
        self._vip = vip
        self._rpc = rpc
        self._asked: dict[tuple[str, str, str], Ask] = {}
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._wake = trio.Event()

    async def listen(self) -> None:
        """Hear from Kamailio's workers what phones ask for, for ever."""
        self._path.unlink(missing_ok=True)
        decoder = msgspec.json.Decoder(Ask)
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            await own.bind(str(self._path))
            while True:
                try:
                    ask = decoder.decode(await own.recv(65535))
                except msgspec.MsgspecError as error:
                    log.warning("message waiting: routing says what nobody understands: %s", error)
                    continue
                if len(self._asked) < MOST:
                    self._asked[ask.tenant, ask.extension, ask.call or ask.registration] = ask
                    self._wake.set()

    async def run(self, well: Callable[[], None]) -> None:
        """Tell of every box that has changed, and who asks, for ever."""
        looked = float("-inf")
        while True:
            if not self._vip.held:
                self._asked.clear()
            else:
                try:
                    if trio.current_time() >= looked + EVERY:
                        looked = trio.current_time()
                        for box in await trio.to_thread.run_sync(self._take):
                            await self._tell(box)
                    await self._answer()
                except StoreError as error:
                    log.debug("message waiting: %s", error)
            well()
            with trio.move_on_after(0.1 if self._asked else EVERY):
                await self._wake.wait()
                if self._asked:
                    # What is asked for in one moment is answered in one step.
                    await trio.sleep(0.02)
            self._wake = trio.Event()

    def _take(self) -> Sequence[Box]:
        with self._database.read() as connection:
            # A writer would hold up others each second, for nothing as a rule.
            if not voicemail.any_changed(connection):
                return ()
        with self._database.write() as connection:
            changed = voicemail.take_changed(connection)
        return self._boxes(changed)

    def _boxes(self, users: Iterable[tuple[str, str]]) -> list[Box]:
        now = time.time()
        with self._database.read() as connection:
            return [voicemail.box(connection, *each, now) for each in users]

    async def _answer(self) -> None:
        asks = [self._asked.pop(key) for key in list(self._asked)[:AT_ONCE]]
        users = dict.fromkeys((ask.tenant, ask.extension) for ask in asks)
        boxes = await trio.to_thread.run_sync(self._boxes, users)
        by_user = {(box.tenant, box.extension): box for box in boxes}
        for ask in asks:
            box = by_user[ask.tenant, ask.extension]
            try:
                if ask.over is not None:
                    await self._send(self._to_subscribers(box, [ask.over]))
                elif ask.call:
                    found = await self._subscribed(box)
                    one = [each for each in found if each.call == ask.call]
                    await self._send(self._to_subscribers(box, one))
                elif box.used:
                    # Of one that never was, no lamp can be on.
                    await self._send(await self._to_others(box, ask.registration))
            except RpcError as error:
                log.info("message waiting: %s in %s: %s", box.extension, box.tenant, error)

    async def _tell(self, box: Box) -> None:
        try:
            found = await self._subscribed(box)
            await self._send(self._to_subscribers(box, found))
            await self._send(await self._to_others(box))
        except RpcError as error:
            log.info("message waiting: %s in %s: %s", box.extension, box.tenant, error)

    def _to_subscribers(self, box: Box, found: Iterable[Subscription]) -> list[Uac]:
        domain, now = self._domain(box), time.time()
        return [
            notify_subscriber(box, domain, one, one.until - now, self._number(one.call, now))
            for one in found
        ]

    def _number(self, call: str, now: float) -> int:
        number = max(int((now - EPOCH) * 10), self._numbers.pop(call, 0) + 1)
        self._numbers[call] = number
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        return number

    async def _to_others(self, box: Box, registration: str = "") -> list[Uac]:
        """To the phones that are registered and have not subscribed, or to one of them."""
        found = await self._subscribed(box)
        now = time.time()
        bindings = await control.lookup(self._rpc, box.tenant, box.extension, now)
        return [
            notify(box, self._domain(box), one)
            for one in others(bindings, found)
            if registration in ("", one.call_id)
        ]

    async def _subscribed(self, box: Box) -> tuple[Subscription, ...]:
        entry = await control.get(self._rpc, TABLE, f"{box.tenant}/{box.extension}")
        return subscription.read(entry[0] if entry else None, time.time())

    async def _send(self, requests: Iterable[Uac]) -> None:
        for each in requests:
            await self._rpc("tm.t_uac_start", *each)

    def _domain(self, box: Box) -> str:
        picture = self._state.picture
        found = picture.tenants if picture is not None else ()
        return next((one.domains[0] for one in found if one.name == box.tenant), box.tenant)


def others(bindings: Iterable[Binding], found: Iterable[Subscription]) -> list[Binding]:
    """Phones that are not among those that have subscribed. Pure."""
    subscribed = list(found)
    hops = {_place(one.hop) for one in subscribed}
    contacts = {one.contact for one in subscribed}
    return [
        one
        for one in bindings
        if one.contact not in contacts and not (one.received and _place(one.received) in hops)
    ]


def _place(uri: str) -> str:
    return uri.partition(";")[0]


def notify(box: Box, domain: str, binding: Binding) -> Uac:
    """For one phone, without a subscription. Pure."""
    account = f"sip:{box.extension}@{domain}"
    route = f"Route: {binding.path}\r\n" if binding.path else ""
    headers = (
        f"From: <{account}>;tag={secrets.token_hex(8)}\r\n"
        f"To: <{account}>\r\n"
        f"Call-ID: {secrets.token_hex(12)}\r\n"
        f"{route}"
        f"Contact: <{account}>\r\n"
        f"Event: {subscription.PACKAGE}\r\n"
        "Subscription-State: active\r\n"
        "Content-Type: application/simple-message-summary\r\n"
    )
    hop, socket_ = binding.received or ".", binding.socket or "."
    return "NOTIFY", binding.contact, hop, socket_, headers, _summary(box, account)


def notify_subscriber(box: Box, domain: str, one: Subscription, left: float, number: int) -> Uac:
    """For one that has subscribed, for ``left`` more seconds; 0: it is over. Pure."""
    state = f"active;expires={left:.0f}" if left > 0 else "terminated;reason=timeout"
    routes = "".join(f"Route: {route}\r\n" for route in one.routes)
    headers = (
        f"From: {one.local}\r\n"
        f"To: {one.remote}\r\n"
        f"Call-ID: {one.call}\r\n"
        f"CSeq: {number} NOTIFY\r\n"
        f"{routes}"
        f"Contact: <{one.own}>\r\n"
        f"Event: {one.event}\r\n"
        f"Subscription-State: {state}\r\n"
        "Content-Type: application/simple-message-summary\r\n"
    )
    account = f"sip:{box.extension}@{domain}"
    return "NOTIFY", one.contact, one.hop, ".", headers, _summary(box, account)


def _summary(box: Box, account: str) -> str:
    """RFC 3842 section 3.5."""
    return (
        f"Messages-Waiting: {'yes' if box.new else 'no'}\r\n"
        f"Message-Account: {account}\r\n"
        f"Voice-Message: {box.new}/{box.saved} (0/0)\r\n"
    )
