"""Down by the managers' word, as one who is probed hears it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from services.core.failover.lease import ANY, Lease
from services.core.failover.opinions import Opinions
from services.core.failover.timing import BACK, OPINION, OVERLAP, PROBE, SUSPECT

IVR = "ivr/ivr1"
MANAGERS = ("cm1", "cm2", "cm3")


def say(opinions: Opinions, down: dict[str, tuple[str, ...]], begin: float, end: float) -> None:
    """Each of the managers says so ten times a second, a third of that apart."""
    for beat in range(round((end - begin) / PROBE)):
        for place, (manager, missed) in enumerate(down.items()):
            at = begin + beat * PROBE + place * PROBE / 3
            opinions.heard(manager, missed, at - 0.001, at)


def test_two_of_three_make_it_down_at_once() -> None:
    opinions = Opinions(2)
    say(opinions, {"cm1": (IVR,), "cm2": (IVR,), "cm3": ()}, 0, PROBE)
    assert opinions.down(PROBE) == {IVR}


def test_one_manager_alone_makes_nobody_down() -> None:
    opinions = Opinions(2)
    say(opinions, {"cm1": (IVR,), "cm2": (), "cm3": ()}, 0, 5)
    assert not opinions.down(5)


def test_opinions_of_different_times_are_no_agreement() -> None:
    opinions = Opinions(2)
    opinions.heard("cm1", (IVR,), 1.0, 1.001)
    opinions.heard("cm2", (IVR,), 1.2, 1.201)
    assert not opinions.down(1.21)


def test_it_is_back_after_a_while_and_not_at_the_first_answer() -> None:
    opinions = Opinions(2)
    say(opinions, {"cm1": (IVR,), "cm2": (IVR,)}, 0, 1)
    assert opinions.down(1) == {IVR}
    for half in range(round(2 * BACK)):
        assert opinions.down(1 + half / 2) == {IVR}
        say(opinions, {"cm1": (), "cm2": ()}, 1 + half / 2, 1.5 + half / 2)
    assert not opinions.down(1 + BACK)


def test_who_hears_no_managers_changes_no_opinion() -> None:
    opinions = Opinions(2)
    say(opinions, {"cm1": (IVR,), "cm2": (IVR,)}, 0, 1)
    assert opinions.down(1) == {IVR}
    assert opinions.down(1 + OPINION + 10 * BACK) == {IVR}


def test_an_older_acknowledgement_says_nothing_new() -> None:
    opinions = Opinions(1)
    opinions.heard("cm1", (), 2.0, 2.001)
    opinions.heard("cm1", (IVR,), 1.9, 2.1)
    assert not opinions.down(2.1)


# Time in ms; a server that answers or not, to each manager for itself, with delays.
spans = st.lists(st.integers(1, 600), min_size=1, max_size=12)
delays = st.lists(st.integers(0, 120), min_size=1, max_size=7)


ways = st.tuples(spans, spans, spans)
ALWAYS = [4000, 1]


@given(ways, ways, delays, delays)
# One misses it, then another one does, and of the first no news has come since.
@example(([600, 455, 4000], [870, 455, 4000], ALWAYS), ([1060, 4000], ALWAYS, ALWAYS), [0], [0])
def test_who_is_missed_has_lost_its_lease_before(
    reached: tuple[list[int], list[int], list[int]],
    listened: tuple[list[int], list[int], list[int]],
    ways: list[int],
    acks: list[int],
) -> None:
    """Whatever gets through, and however late: a life that others think is over, is over."""
    lease = Lease(MANAGERS, 2)
    opinions = Opinions(2)
    heard: dict[str, int] = dict.fromkeys(MANAGERS, 0)
    life: int | None = None
    mail: list[tuple[int, str, str, int, tuple[str, ...]]] = []
    for ms in range(0, 4000, 5):
        for place, manager in enumerate(MANAGERS):
            if (ms + place * 35) % 100 == 0:
                way, ack = ways[(ms // 100) % len(ways)], acks[(ms // 100) % len(acks)]
                if _connected(reached[place], ms):
                    mail.append((ms + way, "stamp", manager, ms, ()))
                if _connected(listened[place], ms):
                    mail.append((ms + ack // 2, "asked", manager, ms, ()))
        for due in sorted(entry for entry in mail if entry[0] <= ms):
            mail.remove(due)
            _, kind, manager, stamp, missed = due
            ack = acks[(stamp // 100) % len(acks)]
            if kind == "stamp":
                heard[manager] = ms
                mail.append((ms + ack, "grant", manager, stamp, ()))
            elif kind == "asked":
                missing = (IVR,) if ms >= heard[manager] + SUSPECT * 1000 else ()
                mail.append((ms + ack // 2, "opinion", manager, stamp, missing))
            elif kind == "grant":
                life = life if lease.until(ANY) > ms / 1000 else None
                lease.ack(manager, stamp / 1000, (), ())
                if life is None and lease.until(ANY) > ms / 1000:
                    life = ms
            else:
                opinions.heard(manager, missed, stamp / 1000, ms / 1000)
        life = life if lease.until(ANY) > ms / 1000 else None
        if IVR in opinions.missing(ms / 1000):
            assert life is None or ms / 1000 - life / 1000 < OPINION + OVERLAP


def _connected(spans: list[int], ms: int) -> bool:
    """In turn reached and not, a span each."""
    place = ms % sum(spans)
    for at, span in enumerate(spans):
        if place < span:
            return at % 2 == 0
        place -= span
    raise AssertionError
