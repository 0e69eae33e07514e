"""REGISTER against a real Kamailio (RFC 3261 10, 3327, 3581, 5626, 7616, 8760)."""

from __future__ import annotations

import signal

import pytest

from services.core.configuration import Security
from tests.integration.edge.conftest import Dial
from tests.support.kamailio import CallManager
from tests.support.sip_client import Reply, Stream, challenge, digest


@pytest.mark.parametrize("over", ["udp", "tcp", "tls", "wss"])
@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_registers(manager: CallManager, phone: Dial, over: str, algorithm: str) -> None:
    handset = phone("1001", over=over)
    answer = handset.register(algorithm=algorithm)
    assert answer.code == 200, answer.line
    assert answer.get("Contact").startswith(handset.contact)
    (binding,) = manager.contacts("1001")
    # Streams are reached by the connection they came on, whatever the Contact says (RFC 5626).
    received = f"sip:{handset.connection.address}:{handset.connection.port};transport="
    assert binding["Received"].startswith(received) == (over != "udp")


@pytest.mark.parametrize("how", ["folded", "long"])
def test_a_head_that_cannot_be_read_at_once_is_read(
    manager: CallManager, phone: Dial, how: str
) -> None:
    """RFC 3261 7.3.1 lets a header field go on in the next line."""
    handset = phone("1001")
    if how == "folded":
        answer = handset.register(f"{handset.contact}\r\n ;q=0.5")
    else:
        answer = handset.register(extra=f"X-Padding: {'x' * 4200}\r\n")
    assert answer.code == 200, answer.line
    assert len(manager.contacts("1001")) == 1


def test_challenge_is_for_both_algorithms_strongest_first(phone: Dial) -> None:
    handset = phone()
    answer = handset.send(handset.request("REGISTER", "sip:sales.example"))
    assert answer.code == 401
    algorithms = [value.rpartition("=")[2] for value in answer.all("WWW-Authenticate")]
    assert algorithms == ["SHA-256", "MD5"]


def test_offers_what_the_security_settings_say(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(digest=("MD5",)))
    handset = phone()
    answer = handset.send(handset.request("REGISTER", "sip:sales.example"))
    assert [value.rpartition("=")[2] for value in answer.all("WWW-Authenticate")] == ["MD5"]


def test_unknown_user_and_wrong_password_look_alike(phone: Dial) -> None:
    def shape(extension: str) -> list[tuple[str, str]]:
        handset = phone(extension, port="0")
        answer = handset.register(password="wrong")
        hidden = ("via", "from", "to", "call-id", "www-authenticate")
        return [(name, "" if name in hidden else value) for name, value in answer.headers] + [
            ("line", answer.line)
        ]

    assert shape("1001") == shape("4711")


def test_malformed_contact_is_told_once_credentials_are_right(phone: Dial) -> None:
    """RFC 4475 3.1.2.12, regbadct: header parameters need angle brackets."""
    answer = phone().register("sip:1001@192.0.2.1?Route=%3Csip:x.example%3E")
    assert (answer.code, answer.reason) == (400, "Malformed Contact")


def test_third_party_registration_is_refused(phone: Dial) -> None:
    handset = phone("1001")
    answer = handset.send(
        handset.request("REGISTER", "sip:sales.example", to="<sip:1002@sales.example>")
    )
    assert (answer.code, answer.reason) == (403, "From and To Differ")


def test_credentials_of_another_user_are_refused(phone: Dial) -> None:
    assert phone("1001").register(username="1002").code == 403


def test_disabled_user_cannot_register(manager: CallManager, phone: Dial) -> None:
    assert phone("1010").register().code == 403
    assert manager.contacts("1010") == []


def test_foreign_domain_is_refused_without_a_challenge(phone: Dial) -> None:
    handset = phone("1001", domain="elsewhere.example")
    answer = handset.send(handset.request("REGISTER", "sip:elsewhere.example"))
    assert answer.code == 403


def test_second_domain_of_a_tenant_is_the_same_address_of_record(
    manager: CallManager, phone: Dial
) -> None:
    assert phone("1001", domain="second.sales.example").register().code == 200
    assert len(manager.contacts("1001")) == 1


def test_a_nonce_serves_again_with_a_higher_count_and_not_with_the_same(phone: Dial) -> None:
    handset = phone()
    uri = "sip:sales.example"
    first = handset.send(handset.request("REGISTER", uri))

    def again(nc: int) -> Reply:
        credentials = digest(challenge(first), "REGISTER", uri, "1001", nc=nc)
        return handset.send(handset.request("REGISTER", uri, f"Authorization: {credentials}\r\n"))

    assert again(1).code == 200
    assert again(2).code == 200
    replayed = again(2)
    assert replayed.code == 401
    assert "stale=true" in challenge(replayed)


def test_a_retransmission_gets_its_answer_again(manager: CallManager, phone: Dial) -> None:
    handset = phone()
    uri = "sip:sales.example"
    first = handset.send(handset.request("REGISTER", uri))
    credentials = digest(challenge(first), "REGISTER", uri, "1001")
    message = handset.request(
        "REGISTER", uri, f"Contact: {handset.contact}\r\nAuthorization: {credentials}\r\n"
    )
    assert handset.send(message).code == 200
    assert handset.send(message).code == 200
    assert len(manager.contacts("1001")) == 1


def test_malformed_credentials_are_told(phone: Dial) -> None:
    handset = phone()
    header = 'Authorization: Digest username="1001", username="1002", realm="sales.example"\r\n'
    answer = handset.send(handset.request("REGISTER", "sip:sales.example", header))
    assert (answer.code, answer.reason) == (400, "Credentials Have a Parameter Twice")


def test_several_contacts_and_their_limit(manager: CallManager, phone: Dial) -> None:
    manager.configure(Security(max_contacts=3))
    for host in (2, 3, 4):
        assert phone("1001", host=host).register().code == 200
    assert len(manager.contacts("1001")) == 3
    too_many = phone("1001", host=5)
    answer = too_many.register()
    assert (answer.code, answer.reason) == (403, "Too Many Contacts")
    # One that is there may refresh.
    assert len(phone("1001", host=2, port="0").fetch().get("Contact").split(",")) == 3


def test_bindings_whose_connection_is_lost_give_way(manager: CallManager, phone: Dial) -> None:
    """Phones on connections leave theirs behind at each restart and each move of the VIP."""
    manager.configure(Security(max_contacts=3))
    stays, *others = [
        phone("1001", host=host, over="tcp" if host > 2 else "udp") for host in (2, 3, 4)
    ]
    for each in (stays, *others):
        assert each.register().code == 200
    manager.stop(signal.SIGTERM)
    manager.start()
    assert len(manager.contacts("1001")) == 3
    again = phone("1001", host=5, over="tcp")
    answer = again.register()
    assert answer.code == 200, answer.line
    kept = {f"<{each['Address']}>" for each in manager.contacts("1001")}
    # No more went than had to.
    assert {stays.contact, again.contact} < kept
    assert len(kept) == 3


def test_fetch_and_unregister(manager: CallManager, phone: Dial) -> None:
    handset = phone()
    handset.register()
    assert handset.contact in handset.fetch().get("Contact")
    assert handset.register(expires=0).code == 200
    assert manager.contacts("1001") == []


def test_unregister_all(manager: CallManager, phone: Dial) -> None:
    phone("1001", host=3).register()
    handset = phone("1001")
    handset.register()
    assert len(manager.contacts("1001")) == 2
    assert handset.register("*", expires=60).code == 400
    assert handset.register("*", expires=0).code == 200
    assert manager.contacts("1001") == []


@pytest.mark.parametrize(
    ("expires", "code", "granted"),
    [(30, 423, 0), (86400, 200, 3600), ("-1", 400, 0), ("9" * 40, 400, 0), ("soon", 400, 0)],
)
def test_expires(phone: Dial, expires: int | str, code: int, granted: int) -> None:
    answer = phone().register(expires=expires)
    assert answer.code == code
    if code == 423:
        assert answer.get("Min-Expires") == "60"
    if granted:
        assert f"expires={granted}" in answer.get("Contact")


def test_a_nat_is_seen_through(manager: CallManager, phone: Dial) -> None:
    handset = phone()
    handset.via = "SIP/2.0/UDP 192.168.1.20:5062"
    answer = handset.register("<sip:1001@192.168.1.20:5062>")
    assert answer.code == 200
    # The answer came to the packet's port although the Via had no rport (RFC 3581 4).
    assert f"received={handset.connection.address}" in answer.get("Via")
    (binding,) = manager.contacts("1001")
    assert binding["Received"] == f"sip:{handset.connection.address}:5060"
    assert binding["CFlags"] == 1 << 6 | 1 << 7


def test_a_nat_is_kept_open(phone: Dial) -> None:
    """By OPTIONS from the address that it registered with, within the pings' interval of 25 s."""
    handset = phone(host=12)
    assert handset.register("<sip:1001@192.168.1.20:5062>").code == 200
    assert handset.connection.receive(30).startswith(b"OPTIONS sip:1001@192.168.1.20:5062 ")


def test_a_contact_elsewhere_is_reached_where_it_registered(
    manager: CallManager, phone: Dial
) -> None:
    """Else a user could send calls to the carrier, from our address and on our account."""
    handset = phone()
    assert handset.register("<sip:0900123456@carrier.example>").code == 200
    (binding,) = manager.contacts("1001")
    assert binding["Received"] == f"sip:{handset.connection.address}:5060"


def test_a_contact_does_not_name_its_own_received_address(phone: Dial) -> None:
    handset = phone()
    answer = handset.register(f'{handset.contact};received="sip:198.51.100.1"')
    assert answer.code == 400


def test_path(manager: CallManager, phone: Dial) -> None:
    handset = phone()
    path = f"<sip:{handset.connection.address};lr>"
    answer = handset.register("<sip:1001@10.1.1.1>", extra=f"Path: {path}\r\nSupported: path\r\n")
    assert answer.code == 200
    assert answer.get("Path") == path
    (binding,) = manager.contacts("1001")
    assert binding["Path"] == path


def test_path_to_elsewhere_is_refused(phone: Dial) -> None:
    answer = phone().register(extra="Path: <sip:198.51.100.1;lr>\r\nSupported: path\r\n")
    assert answer.code == 403


def test_outbound(manager: CallManager, phone: Dial) -> None:
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'
    first, second = phone(over="tcp"), phone(over="tcp")
    for handset in (first, second):
        answer = handset.register(
            f"{handset.contact};reg-id=1;{instance}", extra="Supported: path, outbound\r\n"
        )
        assert answer.code == 200
        assert answer.get("Require") == "outbound"
        assert int(answer.get("Flow-Timer")) == 95
    # A new flow of the same instance and reg-id takes the old one's place (RFC 5626 6).
    (binding,) = manager.contacts("1001")
    assert f":{second.connection.port}" in binding["Received"]


def test_gruu(phone: Dial) -> None:
    handset = phone()
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'
    answer = handset.register(f"{handset.contact};{instance}", extra="Supported: gruu\r\n")
    assert 'pub-gruu="sip:1001@' in answer.get("Contact")


def test_unknown_extension_required(phone: Dial) -> None:
    handset = phone()
    answer = handset.send(
        handset.request("REGISTER", "sip:sales.example", "Require: path, teleportation\r\n")
    )
    assert answer.code == 420
    assert answer.get("Unsupported") == "teleportation"


def test_keep_alives(phone: Dial) -> None:
    stream = phone(over="tcp")
    stream.register()
    assert isinstance(stream.connection, Stream)
    stream.connection.send(b"\r\n\r\n")
    assert stream.connection.read() == b"\r\n"
    datagram = phone(host=3)
    # A STUN binding request (RFC 5389 6).
    datagram.connection.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(range(12)))
    answer = datagram.connection.receive()
    assert answer[:2] == b"\x01\x01"
    assert answer[8:20] == bytes(range(12))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_registrations_survive_a_restart(
    manager: CallManager, phone: Dial, how: signal.Signals
) -> None:
    assert phone("1003", host=6).register().code == 200

    def stored() -> bool:
        import sqlite3

        with sqlite3.connect(manager.root / "data" / "pbx.db") as database:
            rows = database.execute("select 1 from location where username = '1003'").fetchall()
        return bool(rows)

    if how is signal.SIGKILL:
        manager.wait_for(stored, "the binding to be written", 12)
    manager.stop(how)
    manager.start()
    assert len(manager.contacts("1003")) == 1


def test_a_lost_connection_loses_its_binding(manager: CallManager, phone: Dial) -> None:
    handset = phone("1004", over="tcp")
    assert handset.register().code == 200
    handset.connection.close()
    manager.wait_for(lambda: manager.contacts("1004") == [], "the binding to go", 12)


def test_users_that_are_not_there_yet(manager: CallManager, phone: Dial) -> None:
    environment = manager.tables._environment
    meta = manager.tables._db["meta"]

    def complete(value: bytes) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(b"complete", value, db=meta)

    complete(b"0")
    try:
        answer = phone("4711").register()
        assert answer.code == 503
        assert int(answer.get("Retry-After")) > 0
        assert phone("1001", host=3).register().code == 200
    finally:
        complete(b"1")
