from __future__ import annotations

from typing import Any

import msgspec

from services.media.mirror.cli import read_received, read_sessions
from services.media.mirror.document import (
    advanced,
    encrypted,
    home_of,
    ports_of,
    recording_of,
    rendered,
    with_recording,
)


def read(document: bytes) -> dict[str, Any]:
    return msgspec.json.decode(document)


def make(**members: Any) -> bytes:
    return msgspec.json.encode({"json": {"redis_hosted_db": "1"}, **members})


def test_the_home_is_the_interface_of_the_first_socket() -> None:
    assert home_of(make(**{"sfd-0": {"logical_intf": "at-10-0-0-9"}})) == "10-0-0-9"
    assert home_of(make(**{"sfd-0": {"logical_intf": "at%2D10-0-0-9"}})) == "10-0-0-9"
    assert home_of(make(**{"sfd-0": {"logical_intf": "check"}})) == ""
    assert home_of(make()) == ""
    assert home_of(b"\xff") == ""
    assert home_of(b"[1]") == ""


def test_a_session_has_ports_since_it_was_set_up() -> None:
    sockets = {"sfd-0": {"localport": "30000"}, "sfd-10": {"localport": "30014"}, "sfd-2": 1}
    session = msgspec.json.encode({"json": {"created": "1795801365254587"}, **sockets})
    ports, created = ports_of(session)
    assert ports >= {30000, 30014}
    assert created == 1795801365.254587
    assert ports_of(b"?") == (frozenset(), 0.0)


def test_packet_indices_of_all_tags_are_one_table() -> None:
    caller = {
        "ssrc": "7",
        "in_srtp_index": "70000",
        "out_srtp_index": "0",
        "in_srtcp_index": "0",
        "out_srtcp_index": "0",
        "in_payload_type": "8",
    }
    callee = {**caller, "in_srtp_index": "0", "out_srtp_index": "69990"}
    other = {**caller, "ssrc": "9", "in_srtp_index": "strange"}
    given = make(**{"ssrc_table-0": [caller], "ssrc_table-1": [callee, other]})
    found = read(rendered(given, 2))
    table = {entry["ssrc"]: entry for entry in found["ssrc_table"]}
    assert table["7"]["in_srtp_index"] == "70000"
    assert table["7"]["out_srtp_index"] == "69990"
    assert table["7"]["in_payload_type"] == "8"
    assert table["9"]["in_srtp_index"] == "0"
    assert found["ssrc_table-0"] == [caller]
    assert found["json"]["redis_hosted_db"] == "2"


def test_a_recording_is_not_restored_but_remembered() -> None:
    given = make()
    assert recording_of(given) is None
    recorded = with_recording(given, recorded=True)
    assert recording_of(recorded) == ""
    assert recording_of(rendered(recorded, 1)) is None
    assert with_recording(recorded, recorded=True) is recorded
    assert recording_of(with_recording(recorded, recorded=False)) is None


def test_what_cannot_be_read_is_passed_on() -> None:
    assert rendered(b"?", 1) == b"?"
    assert with_recording(b"?", recorded=True) == b"?"
    assert recording_of(b"?") is None


LISTED = """
callid: abc@host
deletionmark: no
created: 1795404199
foreign: no

--- Tag 'caller', type: FROM_TAG, label '', branch '', callduration 8.000000
---     subscribed to 'callee'
------ Media #1 (audio over RTP/SAVP) using PCMA/8000
-------- Port       10.0.0.121:30000 <>       10.0.0.4:5000 , SSRC 7, 40000 p, 6880000 b, 0 e, 17 ts
-------- Port       10.0.0.121:30001 <>       10.0.0.4:5001  (RTCP), SSRC 7, 3 p, 9 b, 0 e, 1 ts
------ Media #1 (audio over RTP/AVP) using PCMA/8000
-------- Port    [fd00::1]:30002 <>       [fd00::2]:6000 , SSRC 1f, 900 p, 9 b, 0 e, 1 ts
"""
ALL = """callid:   a@b | deletionmark:  no | created: 1 | proxy:x | redis_keyspace:2 | foreign:yes
callid: c | deletionmark:  no | created:  2 | proxy:x:1 | redis_keyspace:1 | foreign:no
"""


def test_what_rtpengine_lists() -> None:
    assert read_sessions(ALL) == {"a@b": True, "c": False}
    assert read_sessions("No sessions on this media relay.\n") == {}
    found = read_received(LISTED.replace(":5000 ,", ":5000,").replace(":6000 ,", ":6000,"))
    assert found == {30000: (7, 40000), 30002: (31, 900)}


def test_packet_indices_are_brought_up_to_date_by_what_was_received() -> None:
    given = make(
        **{
            "sfd-0": {"localport": "30000", "crypto_suite": "AES_CM_128_HMAC_SHA1_80"},
            "sfd-1": {"localport": "30002"},
            "stream-0": {"sfd": "0", "stats-packets": "100"},
            "stream-1": {"sfd": "1", "stats-packets": "100"},
            "stream-2": {"sfd": "-1", "stats-packets": "0"},
            "ssrc_table-0": [
                {"ssrc": "7", "in_srtp_index": "60000", "out_srtp_index": "0"},
                {"ssrc": "31", "in_srtp_index": "0", "out_srtp_index": "500"},
            ],
            "ssrc_table-1": [{"ssrc": "7", "in_srtp_index": "0", "out_srtp_index": "60001"}],
        }
    )
    assert encrypted(given)
    later = advanced(given, {30000: (7, 40100), 30002: (31, 1100)})
    found = read(later)
    assert found["ssrc_table-0"][0] == {
        "ssrc": "7",
        "in_srtp_index": "100000",
        "out_srtp_index": "0",
    }
    assert found["ssrc_table-0"][1]["out_srtp_index"] == "1500"
    assert found["ssrc_table-1"][0]["out_srtp_index"] == "100001"
    assert advanced(later, {30000: (7, 40100), 30002: (31, 1100)}) is later
    assert advanced(given, {}) is given
    assert not encrypted(make())
