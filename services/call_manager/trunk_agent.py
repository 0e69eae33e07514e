"""Keeps Kamailio's trunk registrations and credentials as the configuration wants them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import trio

from services.call_manager import control, trunks
from services.call_manager.options import OptionsError, options
from services.call_manager.resolver import EVERY, Resolver, sources
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State, TrunkState
from services.call_manager.tables import TablesWriter, Target
from services.core.configuration import Trunk
from services.core.seal import Seal, SealError
from services.core.store import Database, StoreError, secrets

log = logging.getLogger(__name__)

REGISTER_EVERY = 2.0
UNREGISTER_WITHIN = 2.0
"""Seconds for a carrier to take back a registration, all of them together."""


class Trunks:
    """All of a cluster's trunks; `use` says which they are."""

    def __init__(
        self,
        settings: CallManagerSettings,
        state: State,
        tables: TablesWriter,
        database: Database,
        rpc: Rpc,
    ) -> None:
        self._settings = settings
        self._key = settings.cluster_key()
        self._seal = Seal(self._key)
        self._state = state
        self._tables = tables
        self._database = database
        self._rpc = rpc
        self._resolver = Resolver()
        self._trunks: tuple[Trunk, ...] = ()
        self._passwords: dict[str, str] = {}
        self._resolve = trio.Event()
        self._register = trio.Event()
        self._probe = trio.Event()

    @property
    def trunks(self) -> tuple[Trunk, ...]:
        """Those in force."""
        return self._trunks

    def addresses(self, name: str) -> tuple[str, ...]:
        """Where a trunk is, as far as known."""
        return self._resolver.addresses.get(name, ())

    def use(self, found: tuple[Trunk, ...]) -> None:
        """These are the trunks now."""
        if found == self._trunks:
            return
        self._trunks = found
        known = self._state.trunks
        self._state.trunks = {t.name: known.get(t.name, TrunkState()) for t in found}
        self._resolve.set()
        self._probe.set()

    def secret_changed(self) -> None:
        """A secret of the store was written."""
        self._register.set()

    async def register_anew(self) -> None:
        """The VIP has come here: tell the carriers at once, from where it is now."""
        for entry in await self._rpc("uac.reg_dump") or []:
            await self._rpc("uac.reg_enable", "l_uuid", str(entry.get("l_uuid", "")))

    async def resolve(self, well: Callable[[], None]) -> None:
        """Look up hosts and write the table of sources, for ever."""
        written: object = None
        while True:
            await self._resolver.resolve(self._trunks)
            found, problems = sources(self._trunks, self._resolver.addresses)
            problems += [f"trunk {n}: {why}" for n, why in self._resolver.problems.items()]
            self._state.tell("trunks", "; ".join(problems))
            targets = {
                trunk.name: Target(known[0], self._resolver.ports.get(trunk.name, 0))
                for trunk in self._trunks
                if (known := self.addresses(trunk.name))
            }
            if (found, targets) != written:
                await trio.to_thread.run_sync(self._tables.write_sources, found, targets)
                written = (found, targets)
                self._register.set()
            well()
            with trio.move_on_after(EVERY):
                await self._resolve.wait()
            self._resolve = trio.Event()

    async def register(self, well: Callable[[], None]) -> None:
        """Make Kamailio's registrations those wanted, for ever."""
        while True:
            try:
                await self._read_passwords()
                await self._step()
            except (RpcError, StoreError) as error:
                self._state.tell("trunk registrations", f"trunk registrations: {error}")
            else:
                self._state.tell("trunk registrations", "")
            well()
            with trio.move_on_after(REGISTER_EVERY):
                await self._register.wait()
            self._register = trio.Event()

    async def probe(self) -> None:
        """Ask peers with OPTIONS, each as often as it is configured, for ever."""
        while True:
            async with trio.open_nursery() as nursery:
                for trunk in self._trunks:
                    if trunk.options_interval > 0:
                        nursery.start_soon(self._probe_one, trunk)
                await self._probe.wait()
                self._probe = trio.Event()
                nursery.cancel_scope.cancel()

    async def _probe_one(self, trunk: Trunk) -> None:
        while True:
            known = self.addresses(trunk.name)
            if known:
                await self._ask(trunk, known[0])
            else:
                self._change(trunk.name, options_problem="no address", options=0)
            await trio.sleep(trunk.options_interval if known else 1.0)

    async def _ask(self, trunk: Trunk, address: str) -> None:
        began = trio.current_time()
        status, problem = 0, ""
        try:
            status = await options(
                address,
                trunk.port or self._resolver.ports.get(trunk.name) or trunks.PORTS[trunk.transport],
                # Where the peer knows us; its family where that differs, and the kernel chooses.
                source=self._settings.address if ":" not in address else "::",
                transport=trunk.transport,
            )
        except OptionsError as error:
            problem = str(error)
        took = round((trio.current_time() - began) * 1000, 1) if status else 0.0
        before = self._state.trunks.get(trunk.name, TrunkState())
        if bool(problem) != bool(before.options_problem):
            log.warning("trunk %s: OPTIONS: %s", trunk.name, problem or f"answered {status}")
        self._change(trunk.name, options=status, options_ms=took, options_problem=problem)

    async def _read_passwords(self) -> None:
        names = {t.register.password.secret for t in self._trunks if t.register}
        self._passwords = await trio.to_thread.run_sync(self._unseal, names)

    def _unseal(self, names: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        if not names:
            return found
        with self._database.read() as connection:
            for name in names:
                try:
                    value = secrets.get(connection, self._seal, name)
                except SealError as error:
                    log.warning("%s", error)
                    continue
                if value:
                    found[name] = value
        return found

    async def _step(self) -> None:
        wanted = trunks.wanted(
            self._settings,
            self._key,
            self._trunks,
            self._passwords,
            self._resolver.addresses,
            self._resolver.ports,
        )
        dump = await self._rpc("uac.reg_dump") or []
        found = trunks.steps(wanted.values(), dump)
        await self._unregister(found.unregister)
        for uuid in found.remove:
            await self._rpc("uac.reg_remove", uuid)
        for registration in found.add:
            await self._rpc("uac.reg_add", *registration.parameters())
        if found.remove or found.add:
            log.info("trunk registrations: %d removed, %d made", len(found.remove), len(found.add))
        await control.put(
            self._rpc, "trunk_auth", trunks.credentials(self._trunks, self._passwords)
        )
        states = trunks.states(self._trunks, wanted, dump, self._resolver.addresses)
        for name, state in states.items():
            self._change(name, registration=state)

    async def _unregister(self, uuids: tuple[str, ...]) -> None:
        """Have the carrier forget registrations, as far as it answers in time."""
        for uuid in uuids:
            await self._rpc("uac.reg_unregister", "l_uuid", uuid)
        end = trio.current_time() + UNREGISTER_WITHIN
        while uuids and trio.current_time() < end:
            if not trunks.unregistering(uuids, await self._rpc("uac.reg_dump") or []):
                break
            await trio.sleep(0.05)

    def _change(self, name: str, **fields: object) -> None:
        if name in self._state.trunks:
            self._state.trunks[name] = msgspec.structs.replace(self._state.trunks[name], **fields)
