"""What is said on the link, byte by byte."""

from __future__ import annotations

import pytest

from services.core.failover.announce import advertisement, arp_frames
from services.core.failover.raft import host
from services.core.settings import Peer, SettingsError, parse_peers

MAC = bytes.fromhex("020000000001")


def test_gratuitous_arp_is_request_and_reply_about_oneself() -> None:
    request, reply = arp_frames("10.20.0.10", MAC)
    address = bytes([10, 20, 0, 10])
    for frame, operation in ((request, 1), (reply, 2)):
        assert frame[:14] == b"\xff" * 6 + MAC + b"\x08\x06"
        assert frame[14:22] == bytes([0, 1, 8, 0, 6, 4, 0, operation])
        assert frame[22:28] == MAC
        assert frame[28:32] == address
        assert frame[38:42] == address


def test_an_advertisement_overrides_and_brings_the_link_layer_address() -> None:
    message = advertisement("fd00::10", MAC)
    assert message[0] == 136
    assert message[4] & 0x20
    assert message[8:24] == bytes.fromhex("fd000000000000000000000000000010")
    assert message[24:] == b"\x02\x01" + MAC


def test_peers_are_read_in_order() -> None:
    assert parse_peers("cm1=10.20.0.11, cm2=fd00::2") == (
        Peer("cm1", "10.20.0.11"),
        Peer("cm2", "fd00::2"),
    )
    assert parse_peers("") == ()


@pytest.mark.parametrize("text", ["cm1", "cm1=", "cm1=host", "cm1=10.0.0.1,cm1=10.0.0.2"])
def test_peers_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="managers"):
        parse_peers(text)


def test_the_host_of_an_address_with_its_port() -> None:
    assert host("10.20.0.11:8300") == "10.20.0.11"
    assert host("[fd00::1]:8300") == "fd00::1"
