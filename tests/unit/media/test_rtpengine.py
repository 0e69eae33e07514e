from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.media.rtpengine import StartError, arguments, check, problems
from services.media.settings import MediaSettings


def settings(**changes: Any) -> MediaSettings:
    values: dict[str, Any] = {
        "cluster": "acme",
        "server": "media1",
        "release": "1.0.0",
        "registry": "http://127.0.0.1:8500",
        "address": "10.0.0.1",
        "media_address": "10.0.0.2",
        "data_dir": Path("/d"),
        "run_dir": Path("/r"),
        "secrets_dir": Path("/s"),
        "recordings_dir": Path("/rec"),
    }
    return MediaSettings(**values | changes)


def test_the_command_line() -> None:
    found = arguments(settings())
    assert found[0] == "rtpengine"
    for wanted in (
        "--config-file=none",
        "--table=-1",
        "--interface=media/10.0.0.2",
        "--listen-ng=10.0.0.1:2223",
        "--port-min=20000",
        "--port-max=59999",
        "--tos=184",
        "--b2b-url=http://10.0.0.1:7081/rtpengine",
        "--xmlrpc-format=1",
        "--recording-dir=/rec",
        "--recording-method=pcap",
    ):
        assert wanted in found
    assert len(set(found)) == len(found)
    assert not [a for a in arguments(settings(), recording=False) if "recording" in a]


def test_behind_a_nat_there_are_two_interfaces_and_the_public_one_is_the_default() -> None:
    found = [a for a in arguments(settings(public_address="203.0.113.9")) if "interface" in a]
    assert found == ["--interface=media/10.0.0.2!203.0.113.9", "--interface=inside/10.0.0.2"]


def test_ipv6_has_brackets_where_a_port_follows() -> None:
    found = arguments(settings(address="2001:db8::1", media_address="2001:db8::2"))
    assert "--interface=media/2001:db8::2" in found
    assert "--listen-ng=[2001:db8::1]:2223" in found
    assert "--b2b-url=http://[2001:db8::1]:7081/rtpengine" in found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"media_address": "media.example"}, "media_address 'media.example' is not an IP address"),
        ({"public_address": "x"}, "public_address 'x' is not an IP address"),
        ({"media_from": 30000, "media_to": 20000}, "expected a range within 1024 to 65535"),
        ({"media_to": 70000}, "expected a range within 1024 to 65535"),
        ({"control_port": 25000}, "control port 25000 lies within the media ports"),
    ],
)
def test_what_cannot_work_is_said(changes: dict[str, Any], says: str) -> None:
    assert says in "; ".join(problems(settings(**changes)))
    with pytest.raises(StartError, match=r"expected|not an IP|lies within"):
        check(settings(**changes))


def test_nothing_is_wrong_with_the_defaults() -> None:
    assert problems(settings()) == []


def test_floating_addresses_are_interfaces_under_the_same_names_everywhere() -> None:
    pool = "10-0-0-2=10.0.0.2,10-0-0-3=10.0.0.3"
    together = {"media_addresses": pool, "managers": "cm1=10.0.0.9", "live": "10.0.0.8:6380"}
    first = arguments(settings(**together))
    second = arguments(settings(**together, server="media2", media_address="10.0.0.3"))
    assert [a for a in first if "interface" in a] == [
        "--interface=at-10-0-0-2/10.0.0.2",
        "--interface=at-10-0-0-3/10.0.0.3",
        "--interface=check/10.0.0.1",
    ]
    assert next(a for a in second if "interface" in a) == "--interface=at-10-0-0-3/10.0.0.3"
    assert "--redis=127.0.0.1:6381/1" in first
    assert "--subscribe-keyspace=2" in first
    assert "--active-switchover" in first
    # An address of its own that is not in the pool stays where it is.
    fixed = arguments(settings(**together, media_address="10.0.0.7"))
    assert not [a for a in fixed if "redis" in a or "at-" in a]
