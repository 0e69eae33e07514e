"""Trunks: registered at carriers, and asked whether they are there."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import msgspec
import trio

from services.core.configuration import SecretRef, Trunk, TrunkRegistration
from tests.integration.agent.lab import Lab, plain


class Registrar:
    """A carrier that takes any registration, after one challenge, and answers OPTIONS."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 5060))
        self.socket.settimeout(0.2)
        self.registers: list[str] = []
        self.stopped = False

    def serve(self) -> None:
        while not self.stopped:
            try:
                data, source = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            text = data.decode()
            headers = [line for line in text.split("\r\n") if line]
            echo = [
                line + (";tag=carrier" if line.startswith("To:") else "")
                for line in headers
                if line.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:", "Contact:"))
            ]
            status = "200 OK"
            if text.startswith("REGISTER"):
                self.registers.append(text)
                if "\r\nAuthorization:" not in text:
                    status = "401 Unauthorized"
                    echo.append('WWW-Authenticate: Digest realm="carrier", nonce="n", qop="auth"')
            reply = "\r\n".join([f"SIP/2.0 {status}", *echo, "Content-Length: 0", "", ""])
            self.socket.sendto(reply.encode(), source)


async def test_trunks_are_registered_and_asked(manager: Lab) -> None:
    carrier = Registrar(f"{manager.network}.77")
    trunk = Trunk(
        name="carrier-a",
        host=f"{manager.network}.77",
        options_interval=1,
        register=TrunkRegistration(
            username="acme", password=SecretRef(secret="trunks/carrier-a/password"), expires=60
        ),
    )
    with closing(carrier.socket):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, carrier.serve)
            try:
                await _trunks(manager, carrier, trunk)
            finally:
                carrier.stopped = True


async def _trunks(manager: Lab, carrier: Registrar, trunk: Trunk) -> None:
    await manager.apply(plain() | {"trunks/carrier-a": trunk})

    async def state() -> dict[str, Any]:
        found = await manager.get("/v1/trunks")
        return found[0] if found else {}

    async def lacks_password() -> bool:
        return (await state()).get("registration") == "no password"

    await manager.until(lacks_password, "the missing password is told")
    answer = await manager.http.put(
        "/v1/secrets/trunks/carrier-a/password", json={"value": "geheim"}
    )
    assert answer.status_code == 200
    (secret,) = await manager.get("/v1/secrets")
    assert secret == answer.json()

    async def done() -> bool:
        # Nothing is listed until the configuration that names the trunk is in force.
        found = await state()
        return found.get("registration") == "registered" and found.get("options") == 200

    await manager.until(done, "the trunk is registered and answers", within=30)
    assert (await state())["addresses"] == [carrier.socket.getsockname()[0]]
    assert 'username="acme"' in carrier.registers[-1]
    assert "Contact: <sip:trunk-carrier-a-" in carrier.registers[-1]
    table = await manager.rpc("htable.get", "trunk_auth", "carrier-a")
    assert "geheim" in table["item"]["value"]
    for task in ("agent", "kamailio"):
        assert "geheim" not in manager.log(task)
    assert b"geheim" not in (manager.settings.data_dir / "pbx.db").read_bytes()
    # Another realm: the old registration is taken back at the carrier, then there is a new one.
    assert trunk.register is not None
    register = msgspec.structs.replace(trunk.register, realm="carrier")
    changed = msgspec.structs.replace(trunk, register=register)
    before = len(carrier.registers)
    await manager.apply(plain() | {"trunks/carrier-a": changed})

    def bound() -> list[int]:
        """The expiries of the answered ones since."""
        found = [one for one in carrier.registers[before:] if "\r\nAuthorization:" in one]
        return [int(one.split("Expires: ")[1].split()[0]) for one in found]

    async def anew() -> bool:
        return len(bound()) >= 2 and await done()

    await manager.until(anew, "it is registered anew", within=30)
    assert bound() == [0, 60]
    await manager.apply(plain())

    async def gone() -> bool:
        return await manager.rpc("uac.reg_dump") in ([], {}, None)

    await manager.until(gone, "the registration is taken back", within=20)
    assert bound() == [0, 60, 0]
    # A carrier that does not answer keeps nobody waiting.
    await manager.apply(plain() | {"trunks/carrier-a": trunk})
    await manager.until(done, "it is registered once more", within=30)
    carrier.stopped = True
    await manager.apply(plain())
    await manager.until(gone, "it goes without the carrier too")
