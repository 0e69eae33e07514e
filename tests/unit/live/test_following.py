"""Who is primary and whom the others follow, by what each was told last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.live.following import Follow, Promote, Seen, command

HOSTS = {"cm1": "10.20.0.11", "cm2": "10.20.0.12", "cm3": "10.20.0.13"}


def test_the_holder_is_promoted_once() -> None:
    assert command("cm1", "cm1", HOSTS, Seen(follows="10.20.0.12", link=True)) == Promote()
    assert command("cm1", "cm1", HOSTS, Seen(replicas=2)) is None


def test_a_former_primary_sends_its_clients_away() -> None:
    assert command("cm1", "cm2", HOSTS, Seen()) == Follow("10.20.0.12", cut=True)


def test_a_replica_changes_sides_and_keeps_its_clients() -> None:
    seen = Seen(follows="10.20.0.11", link=False)
    assert command("cm3", "cm2", HOSTS, seen) == Follow("10.20.0.12", cut=False)
    assert command("cm3", "cm1", HOSTS, seen) is None


def test_nothing_is_done_for_nobody_or_a_stranger() -> None:
    for holder in ("", "cm9"):
        assert command("cm1", holder, HOSTS, Seen()) is None
        assert command("cm1", holder, HOSTS, Seen(follows="10.20.0.12")) is None


names = st.sampled_from(sorted(HOSTS))


@given(
    start=st.dictionaries(names, st.sampled_from(["", *HOSTS.values()])),
    told=st.lists(st.tuples(names, st.sampled_from(["", "cm9", *HOSTS]))),
    last=names,
)
def test_all_agree_once_all_have_heard(
    start: dict[str, str], told: list[tuple[str, str]], last: str
) -> None:
    """From any beginning, through pictures that come to each in any order."""
    state = {name: Seen(follows=start.get(name, "")) for name in HOSTS}
    for name, holder in [*told, *((name, last) for name in HOSTS)]:
        match command(name, holder, HOSTS, state[name]):
            case Promote():
                state[name] = Seen()
            case Follow(address=address):
                assert address != HOSTS[name], "a Redis that follows itself"
                state[name] = Seen(follows=address)
            case None:
                pass
    assert [name for name in HOSTS if state[name].primary] == [last]
    assert {state[name].follows for name in HOSTS if name != last} == {HOSTS[last]}
    assert all(command(name, last, HOSTS, state[name]) is None for name in HOSTS)
