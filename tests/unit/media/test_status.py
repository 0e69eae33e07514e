from __future__ import annotations

import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.availability import Availability
from services.core.configuration import Switch
from services.core.discovery import TROUBLE, Instance, Service
from services.media.admin import Metrics, metrics, read_teardown
from services.media.announcement.service import trusted
from services.media.status import State, health, read_load, report, troubled

UP = Availability(up=True)


def state(**changes: Any) -> State:
    return State(**({"capacity": 100, "availability": UP, "echo": 0.00034} | changes))


def test_what_people_read() -> None:
    assert report(state(), 0) == ("passing", "RTP echo 0.3 ms")
    draining = state(switch=Switch(state="draining"), sessions=3)
    assert report(draining, 0) == ("passing", "RTP echo 0.3 ms, draining: 3 calls left")
    disabled = state(switch=Switch(state="disabled"))
    assert report(disabled, 0)[1] == "RTP echo 0.3 ms, disabled by an administrator"
    down = state(availability=Availability(went_down=True), failure="no RTP echo in 0.8 s")
    assert report(down, 0) == ("critical", "no RTP echo in 0.8 s")
    waiting = state(availability=Availability(went_down=True, passing_since=9.0))
    assert report(waiting, 10.0) == ("critical", "passes again, up in 2 s")


def test_a_full_disk_is_a_warning_that_takes_no_calls_away() -> None:
    full = state(recording_stopped="recording stopped: 1 MiB free")
    assert health(full, 0).status == "warning"
    assert health(full, 0).problems == ["recording stopped: 1 MiB free"]
    assert report(full, 0) == ("passing", "RTP echo 0.3 ms; recording stopped: 1 MiB free")
    registered = Service(id="a-media-ms1", name="media", tags=("a",))
    assert troubled(registered, full).tags == ("a", TROUBLE)
    assert troubled(troubled(registered, full), state()) == registered


def test_load_is_rtpengines_own_count() -> None:
    found = state()
    current = {"sessionsown": 7, "transcodedmedia": 2, "packetrate": 900}
    read_load(found, {"statistics": {"currentstatistics": current}})  # type: ignore[dict-item]  # as bencode gives it
    assert (found.sessions, found.transcoded, found.packet_rate) == (7, 2, 900)
    read_load(found, {})
    assert found.sessions == 0


def test_metrics_have_a_value_each() -> None:
    shown = Metrics()
    shown.update(metrics(state(sessions=7)))
    assert shown.registry.get_sample_value("pbx_media_sessions") == 7
    assert shown.registry.get_sample_value("pbx_media_up") == 1


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=60))
def test_the_call_whose_media_are_gone(call: str) -> None:
    body = xmlrpc.client.dumps((call,), "teardown").encode()
    assert read_teardown(body) == call


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"<x/>",
        xmlrpc.client.dumps((), "teardown").encode(),
        xmlrpc.client.dumps((5,), "teardown").encode(),
        xmlrpc.client.dumps(("c",), "dlg.terminate_dlg").encode(),
    ],
)
def test_what_else_may_be_sent_there(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_teardown(body)


def test_who_may_ask_for_announcements() -> None:
    manager = Instance(
        id="x",
        name="call-manager",
        node="n",
        address="10.0.0.1",
        meta={"admin": "http://10.0.0.8:1"},
    )
    found = trusted([manager], "10.0.0.2")
    assert found == {"10.0.0.1", "10.0.0.8", "10.0.0.2"}
