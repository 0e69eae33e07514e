"""Nomad's diffs in words."""

from __future__ import annotations

from pbxctl.engines.nomad.drift import drift, restarts
from pbxctl.engines.nomad.wire import Annotations, Field, Part, PlanAnswer, Updates


def test_nothing() -> None:
    assert drift(PlanAnswer()) == drift(PlanAnswer(diff=Part())) == ""
    assert not restarts(PlanAnswer())


def test_what_is_there_comes_first() -> None:
    edited = Field(type="Edited", name="Attempts", old="3", new="10")
    policy = Part(type="Edited", name="RestartPolicy", fields=[Field(name="Mode"), edited])
    group = Part(type="Edited", name="media", objects=[policy])
    answer = PlanAnswer(diff=Part(type="Edited", task_groups=[group]))
    assert drift(answer) == "changed outside pbxctl: media.RestartPolicy.Attempts 10 → 3"


def test_many() -> None:
    fields = [Field(type="Added", name=f"Meta[{n}]", new="1") for n in "abcd"]
    answer = PlanAnswer(diff=Part(type="Edited", fields=fields))
    text = "changed outside pbxctl: Meta.a 1 → none, Meta.b 1 → none and 2 more"
    assert drift(answer) == text


def test_what_restarts() -> None:
    for update, stops in (
        (Updates(destructive_update=1), True),
        (Updates(in_place_update=1), False),
    ):
        assert restarts(PlanAnswer(annotations=Annotations(desired={"g": update}))) is stops
