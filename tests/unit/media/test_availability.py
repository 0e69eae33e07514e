from __future__ import annotations

from services.core.availability import CHECK_EVERY, PASS_FOR, STARTING_EVERY, Availability


def after(checks: str, every: float = 1.0) -> Availability:
    """``checks``: ``+`` passed, ``-`` failed, one each second."""
    state = Availability()
    for number, check in enumerate(checks):
        state = state.after(check == "+", number * every)
    return state


def test_the_first_pass_brings_a_new_server_up_at_once() -> None:
    assert not Availability().up
    assert after("+").up
    assert after("---+").up


def test_one_lost_packet_does_not_take_it_out_and_two_do() -> None:
    assert after("++-").up
    assert after("++-+-+-").up
    assert not after("++--").up


def test_it_comes_back_only_after_it_has_passed_for_a_while() -> None:
    assert not after("+--+").up
    assert not after("+--+++").up
    assert after("+--++++").up
    assert not after("+--++-++").up, "a failure starts the wait anew"
    assert after("+--++-++++").up


def test_the_wait_is_told() -> None:
    state = after("+--+")
    assert state.waits(3.0) == PASS_FOR
    assert state.waits(4.0) == PASS_FOR - 1
    assert after("+").waits(0.0) == 0.0


def test_a_doubtful_server_is_checked_again_at_once() -> None:
    assert after("+-").check_after(False) == 0.0
    assert after("+").check_after(True) == CHECK_EVERY
    assert after("+--").check_after(False) == CHECK_EVERY
    assert after("-").check_after(False) == STARTING_EVERY
