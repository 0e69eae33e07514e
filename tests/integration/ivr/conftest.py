"""A PBX with two IVR servers and menus that play known voices."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbxctl.probe import audio
from tests.integration.ivr.web_service import PASSWORD, PORT, TOKEN, USERNAME
from tests.support.pbx import Pbx, Spec, pbx, user

MAIN = "800"
VOICE = {"main": 2, "wrong": 1, "orders": 0, "closed": 1}
"""Which of the probe's voices each prompt is."""
SECONDS = 20.0
WEB = 60
"""The host of the tenant's web service."""
NAMED, STUDIO = "803", "991"
"""A menu whose prompt is recorded by phone, and what is dialled for that."""
TO_STORE, TO_BOX = "801", "802"
RECORDING: dict[str, Spec] = {TO_STORE: {}, TO_BOX: {"voicemail": "2003"}}
"""Menus that record what a caller says, by extension: where it goes."""


def ivr_server(network: str, number: int) -> Spec:
    """The entry of IVR server ``number``."""
    return {
        "name": f"app{number}",
        "address": f"{network}.{30 + number}",
        "roles": ["ivr"],
        "capacity": {"calls": 20},
    }


def menus(spec: Spec, prompts: Path) -> None:
    """Two IVR servers; a menu with keys of every kind."""

    def play(name: str) -> Spec:
        return {"en": {"file": str(prompts / f"{name}.wav")}}

    network = spec["network"]["vip"].rpartition(".")[0]
    (prompts / "token").write_text(TOKEN)
    (prompts / "password").write_text(PASSWORD)
    service = f"http://{network}.{WEB}:{PORT}"
    token = {"url": f"{service}/token", "token": {"file": str(prompts / "token")}}
    basic = {"username": USERNAME, "password": {"file": str(prompts / "password")}}
    spec["servers"] += [ivr_server(network, number) for number in (1, 2)]
    tenant = spec["tenants"][0]
    user(spec, "2002")["name"] = "Anna Berg"
    tenant["ring_groups"] = {"desk": {"members": ["2003", "2004"], "timeout": "10s"}}
    tenant["hours"] = {"never": {"timezone": "Europe/Berlin", "open": {"mon-sun": "00:00-24:00"}}}
    tenant["menus"] = {
        "main": {
            "extension": MAIN,
            "prompt": play("main"),
            "extensions": True,
            "keys": {
                "1": {"extension": "2002"},
                "3": {"menu": "orders"},
                "4": {"ring_group": "desk"},
                "5": {"dial_name": {"prompt": "Spell the name."}},
                "6": [{"set": {"x": "42"}}, {"say": {"number": "{x}"}}],
                "8": [{"request": token}, {"menu": "orders"}],
                "9": [{"request": {"url": f"{service}/basic", **basic}}, {"menu": "orders"}],
                "7": {"hang_up": play("closed")},
            },
            "ring": "5s",
            "timeout": {
                "after": "2s",
                "between": "1s",
                "retries": 1,
                "wrong": play("wrong"),
                "then": {"hang_up": play("closed")},
            },
        },
        "orders": {
            "prompt": play("orders"),
            "keys": {"0": {"menu": "main"}},
            "timeout": {"after": "60s"},
        },
    }
    named = {"en": {"file": str(prompts / "main.wav"), "name": "welcome"}}
    tenant["menus"]["named"] = {
        "extension": NAMED,
        "prompt": named,
        "keys": {"0": {"menu": "main"}},
        "timeout": {"after": "60s"},
    }
    tenant["prompts"] = {"extension": STUDIO, "users": ["2001"], "numbers": {"1": "welcome"}}
    record = {"prompt": "Speak.", "most": "8s", "silence": "2s"}
    for extension, more in RECORDING.items():
        tenant["menus"][f"record-{extension}"] = {
            "extension": extension,
            "before": [{"record": {**record, **more}}, {"menu": "orders"}],
        }


@pytest.fixture(scope="session")
def prompts() -> Iterator[Path]:
    """WAV files of the voices."""
    with tempfile.TemporaryDirectory(prefix="prompts-") as directory:
        for name, voice in VOICE.items():
            sound = audio.speak(voice, 16000)
            audio.write_wav(Path(directory) / f"{name}.wav", sound, 16000)
        yield Path(directory)


@pytest.fixture(scope="session")
def office(prompts: Path) -> Iterator[Pbx]:
    with pbx(edit=lambda spec: menus(spec, prompts)) as running:
        yield running
