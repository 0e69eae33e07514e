"""Consul's JSON, as it comes and as it may come."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.discovery import Check, CheckResult, Entry, Instance, Service, Session
from services.core.discovery.wire import duration, entries, instances, service_body, session_body


def test_a_service_as_consul_takes_it() -> None:
    service = Service(
        id="a-media-m1",
        name="media",
        address="10.0.0.1",
        port=2223,
        tags=("a",),
        meta={"server": "m1"},
        checks=(Check(ttl=10, deregister_after=60), Check(tcp="10.0.0.1:80", interval=0.5)),
    )
    assert json.loads(service_body(service)) == {
        "ID": "a-media-m1",
        "Name": "media",
        "Address": "10.0.0.1",
        "Port": 2223,
        "Tags": ["a"],
        "Meta": {"server": "m1"},
        "Checks": [
            {
                "Status": "critical",
                "TTL": "10000000us",
                "DeregisterCriticalServiceAfter": "60000000us",
            },
            {"Status": "critical", "TCP": "10.0.0.1:80", "Interval": "500000us"},
        ],
    }


@pytest.mark.parametrize("check", [Check(), Check(ttl=1, http="http://x/")])
def test_a_check_is_of_one_kind(check: Check) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        service_body(Service(id="s", name="s", checks=(check,)))


def test_a_session_as_consul_takes_it() -> None:
    body = json.loads(session_body(Session(name="vip", service_checks=("service:cm1",))))
    assert body == {
        "Name": "vip",
        "LockDelay": "1000us",
        "Behavior": "release",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": [{"ID": "service:cm1"}],
    }
    assert duration(0.001) == "1000us"


def test_an_empty_value_may_be_null() -> None:
    assert entries(b'[{"Key": "k", "Value": null, "ModifyIndex": 3, "Unknown": {}}]') == [
        Entry(key="k", value=b"", modify_index=3)
    ]


@given(st.binary())
def test_values_come_back(value: bytes) -> None:
    body = json.dumps([{"Key": "k", "Value": base64.b64encode(value).decode()}])
    assert entries(body.encode())[0].value == value


@given(st.binary())
def test_what_is_no_answer_is_a_value_error(body: bytes) -> None:
    for decode in (entries, instances):
        try:
            decode(body)
        except ValueError:
            continue


def test_an_instance_takes_its_nodes_address_and_the_worst_status() -> None:
    body = json.dumps(
        [
            {
                "Node": {"Node": "n", "Address": "10.0.0.9"},
                "Service": {"ID": "s", "Service": "media", "Address": "", "Tags": None},
                "Checks": [
                    {"CheckID": "serfHealth", "Status": "passing", "Output": "alive"},
                    {"CheckID": "service:s", "Status": "warning", "Output": "RTP echo 9 ms"},
                ],
            }
        ]
    )
    (instance,) = instances(body.encode())
    assert instance == Instance(
        id="s",
        name="media",
        node="n",
        address="10.0.0.9",
        checks=(
            CheckResult(id="serfHealth", name="", status="passing", output="alive"),
            CheckResult(id="service:s", name="", status="warning", output="RTP echo 9 ms"),
        ),
    )
    assert (instance.status, instance.passing, instance.output) == (
        "warning",
        False,
        "RTP echo 9 ms",
    )
