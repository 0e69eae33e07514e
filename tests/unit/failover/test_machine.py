"""Never two holders, one whenever there can be, and nothing moves for Consul's sake alone."""

from __future__ import annotations

from statistics import median

from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.failover.simulation import World

NAMES = ("cm1", "cm2", "cm3")
names = st.sampled_from(NAMES)
HEALED = 12.0
"""Seconds within which there is a holder once everything is well; writes may hang for 4 of them."""


class Cluster(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.world.run(4)

    @rule(seconds=st.floats(0.01, 3))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(source=names, to=names, loss=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    def lose(self, source: str, to: str, loss: float) -> None:
        self.world.loss[source, to] = loss

    @rule(delay=st.sampled_from([0.001, 0.02, 0.1, 0.4]))
    def delay(self, delay: float) -> None:
        self.world.delay = delay

    @rule(name=names, seconds=st.floats(0.05, 4))
    def pause(self, name: str, seconds: float) -> None:
        self.world.asleep[name] = self.world.now + seconds

    @rule(name=names)
    def unwell(self, name: str) -> None:
        self.world.unwell.add(name)

    @rule(name=names)
    def well(self, name: str) -> None:
        self.world.unwell.discard(name)

    @rule(name=names, seconds=st.sampled_from([0.0, 0.1, 0.5, 3.0]))
    def restart(self, name: str, seconds: float) -> None:
        self.world.stop(name)
        self.world.run(seconds)
        self.world.start(name)

    @rule(name=names)
    def session_ends(self, name: str) -> None:
        for session in [s for s, owner in self.world.consul.sessions.items() if owner == name]:
            self.world.consul.close(session)

    @rule(name=names, away=st.booleans())
    def consul_of_one(self, name: str, away: bool) -> None:
        (self.world.consul_away.add if away else self.world.consul_away.discard)(name)

    @rule(quorum=st.booleans(), slow=st.sampled_from([0.005, 0.02, 0.2, 0.6]))
    def consul(self, quorum: bool, slow: float) -> None:
        self.world.quorum = quorum
        self.world.slow_consul = slow

    @rule(name=names, to=st.sampled_from(["", *NAMES]))
    def hand_over(self, name: str, to: str) -> None:
        self.world.managers[name].election.hand_over(to)

    @rule(
        way=st.sampled_from(["in", "out", "both"]), seconds=st.floats(0.2, 3), apart=st.booleans()
    )
    def holder_cut_off(self, way: str, seconds: float, apart: bool) -> None:
        """And back among the managers, while it may not know yet what the registry says."""
        world = self.world
        for holder in world.holders():
            for other in set(NAMES) - {holder}:
                if way != "in":
                    world.loss[holder, other] = 1.0
                if way != "out":
                    world.loss[other, holder] = 1.0
            if apart:
                world.consul_away.add(holder)
            world.run(seconds)
            world.loss.clear()

    @rule(seconds=st.floats(0.2, 3), restarted=names)
    def holder_sleeps(self, seconds: float, restarted: str) -> None:
        """While somebody, perhaps a voter, begins anew."""
        world = self.world
        for holder in world.holders():
            world.asleep[holder] = world.now + seconds
            world.run(seconds * 0.9)
            if restarted != holder:
                world.stop(restarted)
                world.start(restarted)
            world.run(1)

    @invariant()
    def one_holder(self) -> None:
        if hasattr(self, "world"):
            assert not self.world.overlaps

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.loss.clear()
        world.delay, world.slow_consul, world.quorum = 0.002, 0.01, True
        world.unwell.clear()
        world.consul_away.clear()
        world.asleep.clear()
        world.run(HEALED)
        note(f"{world.history[-5:]} {world.consul.hold}")
        assert not world.overlaps
        assert len(world.holders()) == 1


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(seed=st.integers(0, 2**32), dead=names)
@settings(max_examples=40, deadline=None)
def test_two_managers_and_the_registry_are_enough(seed: int, dead: str) -> None:
    world = World(seed)
    world.run(4)
    world.stop(dead)
    world.run(3)
    assert not world.overlaps
    assert len(world.holders()) == 1
    assert world.holders() != [dead]


@given(seed=st.integers(0, 2**32), seconds=st.floats(1, 20))
@settings(max_examples=30, deadline=None)
def test_nothing_moves_when_the_registry_alone_is_away(seed: int, seconds: float) -> None:
    world = World(seed)
    world.run(4)
    (holder,) = world.holders()
    before = list(world.history)
    world.quorum = False
    world.consul_away.update(NAMES)
    world.run(seconds)
    assert world.holders() == [holder]
    world.quorum = True
    world.consul_away.clear()
    for session in list(world.consul.sessions):
        world.consul.close(session)
    world.run(5)
    assert world.holders() == [holder]
    assert world.history == before


@given(seed=st.integers(0, 2**32), to=names)
@settings(max_examples=30, deadline=None)
def test_a_hand_over_goes_to_whom_it_was_for(seed: int, to: str) -> None:
    world = World(seed)
    world.run(5)
    (holder,) = world.holders()
    if to == holder:
        return
    began = world.now
    world.managers[holder].election.hand_over(to)
    world.run(3)
    assert world.holders() == [to]
    assert not world.overlaps
    (gained,) = [when for when, name in world.history if when > began]
    assert gained - began < 1.0


def test_who_has_just_given_it_back_takes_it_again_at_once() -> None:
    """It left it to another, who had it and died: there is nothing to be shy of any more."""
    took: list[float] = []
    for seed in range(25):
        world = World(seed)
        world.run(5)
        (holder,) = world.holders()
        to, third = sorted(set(NAMES) - {holder})
        world.unwell.add(third)
        world.managers[holder].election.hand_over(to)
        while world.holders() != [to]:
            world.run(0.05)
        world.run(0.3)
        world.stop(to)
        died = world.now
        world.run(4)
        assert world.holders() == [holder]
        assert not world.overlaps
        took.append(world.history[-1][0] - died)
    # As after any death; a write that hangs may make one of them longer.
    assert median(took) < 0.7
