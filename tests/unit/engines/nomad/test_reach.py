"""Where Nomad and Consul are looked for."""

from __future__ import annotations

import pytest

from pbxctl.engines.engine import EngineError
from pbxctl.engines.nomad import Note, place


def test_defaults() -> None:
    found = place({})
    assert (found.nomad.url, found.consul.url) == (
        "http://127.0.0.1:4646",
        "http://127.0.0.1:8500",
    )
    assert found.nomad.token == found.consul.token == found.namespace == ""


def test_the_environment_wins_over_the_note() -> None:
    note = Note(engine="nomad", nomad="http://10.0.0.1:4646", consul="http://10.0.0.1:8500")
    found = place({"NOMAD_ADDR": "https://nomad.example/", "NOMAD_TOKEN": "t"}, note)
    assert found.nomad.url == "https://nomad.example"
    assert found.nomad.token == "t"
    assert found.consul.url == "http://10.0.0.1:8500"


def test_consul_s_forms() -> None:
    assert place({"CONSUL_HTTP_ADDR": "10.0.0.1:8501"}).consul.url == "http://10.0.0.1:8501"
    secure = {"CONSUL_HTTP_ADDR": "10.0.0.1:8501", "CONSUL_HTTP_SSL": "true"}
    assert place(secure).consul.url == "https://10.0.0.1:8501"


@pytest.mark.parametrize("address", ["http://", "ftp://x", "http://x:99999", "http://[::1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(EngineError, match="NOMAD_ADDR"):
        place({"NOMAD_ADDR": address})


def test_no_token_in_what_is_printed() -> None:
    assert "hunter2" not in repr(place({"NOMAD_TOKEN": "hunter2", "CONSUL_HTTP_TOKEN": "hunter2"}))
