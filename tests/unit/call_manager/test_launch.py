"""What Kamailio is started with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pbxctl.engines.local.execution import MARK
from services.call_manager.routing import launch
from services.call_manager.settings import CallManagerSettings
from services.core.settings import SettingsError

SETTINGS = CallManagerSettings(
    cluster="demo",
    server="cm1",
    release="1",
    registry="http://127.0.0.1:8500",
    address="127.0.0.1",
    vip="127.0.0.1",
    data_dir=Path("/data"),
    run_dir=Path("/run/demo"),
    secrets_dir=Path("/secrets"),
    database_url="sqlite:////data/pbx.db",
)


def test_kamailio_keeps_the_mark_by_which_the_engine_ends_it() -> None:
    assert launch.environment(SETTINGS, {MARK: "a-run"})[MARK] == "a-run"


def test_kamailio_is_told_nothing_of_its_surroundings() -> None:
    told = launch.environment(SETTINGS, {"AWS_SECRET": "x", "PASSWORD_2001": "y"})
    assert not {"AWS_SECRET", "PASSWORD_2001"} & set(told)


def test_kamailio_has_its_own_tables_where_the_store_is_on_other_hosts() -> None:
    shared = msgspec.structs.replace(
        SETTINGS, database_url="postgresql://pbx@/pbx?host=10.20.0.11,10.20.0.12&port=5432"
    )
    assert launch.environment(shared, {})["PBX_DATABASE"] == "sqlite:////data/kamailio.db"
    assert launch.environment(SETTINGS, {})["PBX_DATABASE"] == "sqlite:////data/pbx.db"


def test_kamailio_is_given_no_other_database() -> None:
    with pytest.raises(SettingsError, match="SQLite"):
        launch.database("postgresql://pbx@db/pbx")
