"""CSeq numbers as each party of a dialog gets them: always higher than the last."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.call_manager.routing import sequence
from services.call_manager.routing.route_signature import Side

SIDES: tuple[Side, Side] = ("caller", "callee")


class TwoParties(RuleBasedStateMachine):
    """Requests of both, re-INVITEs of the PBX between them, in any order.

    A party knows of a turn when it has taken the re-INVITE that says so; who is asked for an offer
    knows before the other one is told.
    """

    @initialize(
        caller=st.integers(0, 2**31 - 2**24),
        # The highest that user agents are known to begin with.
        callee=st.integers(0, 2**27),
    )
    def begin(self, caller: int, callee: int) -> None:
        self.first = caller
        self.next: dict[Side, int] = {"caller": caller + 1, "callee": callee}
        # By who sends: the INVITE has been there already.
        self.last: dict[Side, int] = {"caller": caller, "callee": -1}
        self.knows: dict[Side, int] = {"caller": 0, "callee": 0}
        self.turn = self.attempt = 0
        self.taken: list[bool] = []

    def arrives(self, sender: Side, number: int) -> None:
        self.taken.append(self.last[sender] < number <= sequence.LARGEST)
        self.last[sender] = number

    @rule(side=st.sampled_from(SIDES), more=st.integers(0, 500))
    def party_sends(self, side: Side, more: int) -> None:
        # While the other one has taken a re-INVITE that this one has not, it is refused.
        other: Side = "callee" if side == "caller" else "caller"
        if self.knows[side] < self.knows[other]:
            return
        own = self.next[side] + more
        self.next[side] = own + 1
        raised = sequence.raised(own, sequence.shift(side, self.knows[side]))
        self.arrives(side, raised)

    @precondition(lambda self: self.turn < sequence.TURNS)
    @rule(more=st.integers(1, 2))
    def media_are_lost(self, more: int) -> None:
        self.turn, self.attempt = min(self.turn + more, sequence.TURNS), 0

    @precondition(lambda self: self.turn > 0 and self.attempt < 20)
    @rule(asked=st.sampled_from(SIDES), tells=st.booleans())
    def pbx_leads_anew(self, asked: Side, tells: bool) -> None:
        other: Side = "callee" if asked == "caller" else "caller"
        if self.knows[other] == self.turn != self.knows[asked]:
            asked, other = other, asked
        steps: list[tuple[Side, Side]] = [(asked, other), (other, asked)]
        for receiver, sender in steps[: 1 + tells]:
            number = sequence.ours(
                sender, self.turn, self.first if sender == "caller" else 0, self.attempt
            )
            if number is None:
                return
            # Where nobody knows of the turn it must be; else it is refused, and there is another.
            if number > self.last[sender] or max(self.knows.values()) < self.turn:
                self.arrives(sender, number)
                self.knows[receiver] = self.turn
        self.attempt += 1

    @invariant()
    def every_number_is_higher_than_the_last(self) -> None:
        assert all(getattr(self, "taken", []))


TwoParties.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestTwoParties = TwoParties.TestCase


def test_numbers_end_before_they_cannot_be_said() -> None:
    assert sequence.ours("caller", 1, sequence.LARGEST - 10, 0) is None
    assert sequence.ours("callee", sequence.TURNS, 0, sequence.SPARE) is None
    assert sequence.raised(sequence.LARGEST - 1, 5) == sequence.LARGEST


@pytest.mark.parametrize(
    ("value", "by", "raised"),
    [("1 20 INVITE", 100, "1 120 INVITE"), ("nonsense", 100, "nonsense"), ("", 1, "")],
)
def test_a_prack_names_its_invite_by_the_raised_number(value: str, by: int, raised: str) -> None:
    assert sequence.rack(value, by) == raised


@pytest.mark.parametrize(
    ("value", "by", "raised"),
    [
        ("refer;id=120", -100, "refer;id=20"),
        ("refer; foo=1; id=20", 100, "refer; foo=1; id=120"),
        ("refer;id=20", -100, "refer;id=20"),
        ("refer", -100, "refer"),
        ("presence;id=120", -100, "presence;id=120"),
    ],
)
def test_a_refer_is_named_by_the_number_that_its_sender_knows(
    value: str, by: int, raised: str
) -> None:
    assert sequence.event(value, by) == raised
