"""What Kamailio is told of trunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from services.call_manager import trunks
from services.call_manager.resolver import sources
from services.call_manager.routing.route_signature import read_trunk_contact
from services.call_manager.settings import CallManagerSettings
from services.core.configuration import SecretRef, Trunk, TrunkRegistration

KEY = bytes(32)
SETTINGS = CallManagerSettings(
    cluster="c",
    server="cm1",
    release="1",
    registry="",
    address="192.0.2.1",
    vip="192.0.2.2",
    data_dir=Path("/x"),
    run_dir=Path("/x"),
    secrets_dir=Path("/x"),
    database_url="sqlite://",
)
REGISTER = TrunkRegistration(username="acme", password=SecretRef(secret="p"), expires=300)
PLAIN = Trunk(name="plain", host="192.0.2.9")
REGISTERED = Trunk(name="reg", host="sip.example", transport="tls", register=REGISTER)
WHERE = {"plain": ("192.0.2.9",), "reg": ("2001:db8::1", "192.0.2.8")}


def want(**passwords: str) -> dict[str, trunks.Registration]:
    return trunks.wanted(SETTINGS, KEY, (PLAIN, REGISTERED), passwords, WHERE)


def entry(registration: trunks.Registration, flags: int = 0) -> dict[str, Any]:
    """As ``uac.reg_dump`` tells it."""
    return {
        "l_uuid": registration.uuid,
        "auth_username": registration.username,
        "auth_password": registration.password,
        "r_domain": registration.domain,
        "realm": registration.realm,
        "auth_proxy": registration.proxy,
        "contact_addr": registration.contact,
        "expires": registration.expires,
        "flags": flags,
    }


def test_only_trunks_that_register_with_a_known_password_and_address() -> None:
    assert want() == {}
    assert trunks.wanted(SETTINGS, KEY, (REGISTERED,), {"p": "x"}, {}) == {}
    (registration,) = want(p="geheim").values()
    assert registration.proxy == "sip:[2001:db8::1]:5061;transport=tls"
    assert registration.contact == "192.0.2.2:5061;transport=tls"
    assert read_trunk_contact(KEY, registration.uuid) == "reg"
    assert len(registration.parameters()) == 15


def test_steps_end_where_nothing_is_left_to_do() -> None:
    registrations = want(p="geheim")
    first = trunks.steps(registrations.values(), [])
    assert first == trunks.Steps((), tuple(registrations.values()))
    there = [entry(one) for one in registrations.values()]
    assert trunks.steps(registrations.values(), there) == trunks.Steps((), ())


def test_what_differs_is_made_anew_and_what_is_not_wanted_goes() -> None:
    (old,) = want(p="old").values()
    (new,) = want(p="new").values()
    stray = {"l_uuid": "trunk-gone-x"}
    found = trunks.steps([new], [entry(old), stray])
    assert found == trunks.Steps((old.uuid, "trunk-gone-x"), (new,))
    # The carrier is told only of what it has said 200 to.
    online = entry(old, trunks.ONLINE)
    assert trunks.steps([new], [online, stray]).unregister == (old.uuid,)
    assert trunks.steps([], [online]) == trunks.Steps((old.uuid,), (), (old.uuid,))
    assert trunks.steps([old], [online]).unregister == ()
    ongoing = entry(old, trunks.ONGOING)
    assert trunks.unregistering([old.uuid], [ongoing])
    assert not trunks.unregistering(["other"], [ongoing])
    assert not trunks.unregistering([old.uuid], [online])
    # A registrar's 423 has raised it.
    raised = entry(new) | {"expires": 3600}
    assert trunks.steps([new], [raised]) == trunks.Steps((), ())


def test_states_for_people() -> None:
    registrations = want(p="x")
    (one,) = registrations.values()

    def states(dump: list[dict[str, Any]], known: dict[str, trunks.Registration]) -> list[str]:
        return list(trunks.states((PLAIN, REGISTERED), known, dump, WHERE).values())

    assert states([entry(one, 4)], registrations) == ["none", "registered"]
    assert states([entry(one, 18)], registrations) == ["none", "registering"]
    assert states([], {}) == ["none", "no password"]
    assert list(trunks.states((REGISTERED,), {}, [], {}).values()) == ["no address"]


def test_credentials_are_json() -> None:
    found = trunks.credentials((PLAIN, REGISTERED), {"p": 'a:"b'})
    assert msgspec.json.decode(found["reg"]) == {
        "username": "acme",
        "password": 'a:"b',
        "realm": "",
    }
    assert trunks.credentials((REGISTERED,), {}) == {}


def test_an_address_tells_one_trunk_only() -> None:
    second = Trunk(name="second", host="192.0.2.9")
    where = WHERE | {"second": ("192.0.2.9",)}
    found, problems = sources((PLAIN, second, REGISTERED), where)
    assert found == {"192.0.2.9": "plain", "2001:db8::1": "reg", "192.0.2.8": "reg"}
    assert problems == ["trunks plain and second are both at 192.0.2.9"]
