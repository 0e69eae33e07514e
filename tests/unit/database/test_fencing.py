"""When a primary that does nothing any more is ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.database.fencing import PATRONI, POSTGRES, Fencing, Look

WELL = Look(holds=True, patroni=True, postgres=True)
NO_PATRONI = Look(holds=True, patroni=False, postgres=True)
NO_POSTGRES = Look(holds=True, patroni=True, postgres=False)


def after(*looks: tuple[float, Look]) -> Fencing:
    state = Fencing()
    for now, look in looks:
        state = state.after(look, now)
    return state


def test_patroni_gets_the_time_to_be_started_again() -> None:
    state = after((0, WELL), (1, NO_PATRONI), (PATRONI, NO_PATRONI))
    assert state.reason(PATRONI) == ""
    assert after((0, NO_PATRONI), (3, WELL), (4, NO_PATRONI)).reason(PATRONI + 1) == ""


def test_patroni_that_stays_silent() -> None:
    state = after((0, NO_PATRONI), (PATRONI, NO_PATRONI))
    assert state.reason(PATRONI) == "Patroni has not answered for 8 s"


def test_postgresql_that_stays_silent() -> None:
    state = after((0, NO_POSTGRES), (POSTGRES, NO_POSTGRES))
    assert state.reason(POSTGRES - 0.1) == ""
    assert state.reason(POSTGRES) == "PostgreSQL has not answered for 10 s"


looks = st.builds(Look, holds=st.booleans(), patroni=st.booleans(), postgres=st.booleans())


@given(st.lists(st.tuples(st.floats(0.1, 5), looks), min_size=1, max_size=40))
def test_only_a_holder_that_was_silent_all_the_time(steps: list[tuple[float, Look]]) -> None:
    """Against a second account of it: the looks of the last seconds, each and every one."""
    state, now, seen = Fencing(), 0.0, list[tuple[float, Look]]()
    for pause, look in steps:
        now += pause
        seen.append((now, look))
        state = state.after(look, now)
        silent = {"patroni": now, "postgres": now}
        for what in silent:
            for when, each in reversed(seen):
                if not each.holds or getattr(each, what):
                    break
                silent[what] = when
        due = look.holds and (
            (not look.patroni and now - silent["patroni"] >= PATRONI)
            or (not look.postgres and now - silent["postgres"] >= POSTGRES)
        )
        assert bool(state.reason(now)) == due
