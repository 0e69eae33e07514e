"""One failure is one mail, and its end another; whoever decides, whatever fails meanwhile."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.call_manager.alerts import outbox
from services.call_manager.alerts.incidents import (
    FLAPS,
    GATHER,
    GONE,
    KEEP,
    STARTING,
    STEADY,
    WELL_FOR,
    Incident,
    Incidents,
    Kept,
    Observation,
    Step,
)
from services.call_manager.alerts.outbox import CLAIM, Entry, Mail, Outbox, after, pause

WELL = Observation(condition="well")
ILL = Observation(condition="ill", reason="RTP echo: no answer")
OFF = Observation(condition="off")
MEDIA = "server/media/ms1"
TICK = 0.5
EPOCH = 1_700_000_000.0


class Desk:
    """One Call Manager and a registry that always answers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.incidents = Incidents(self.now)
        self.seen: dict[str, Observation] = {}
        self.kept: dict[str, Kept] = {}
        self.mails: list[tuple[str, tuple[str, ...]]] = []
        self._index = 0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            self.incidents.see(self.seen, self.now)
            while (step := self.decide()) is not None:
                self.do(step)

    def decide(self) -> Step | None:
        self._index += 1
        return self.incidents.decide(self.kept, self.now, EPOCH + self.now, str(self._index))

    def do(self, step: Step) -> None:
        if step.forget:
            del self.kept[step.forget]
        for one in step.records:
            self._index += 1
            self.kept[one.key] = Kept(one, self._index)
        if step.mail:
            self.mails.append((step.mail, tuple(one.key for one in step.records)))

    def see(self, observed: Observation | None, seconds: float, key: str = MEDIA) -> None:
        if observed is None:
            self.seen.pop(key, None)
        else:
            self.seen[key] = observed
        self.run(seconds)


def test_a_failure_is_one_mail_and_its_end_another() -> None:
    desk = Desk()
    desk.see(WELL, 10)
    desk.see(ILL, 2 + GATHER)
    assert desk.mails == [("failed", (MEDIA,))]
    desk.see(ILL, 3600)
    desk.see(WELL, WELL_FOR - 1)
    assert len(desk.mails) == 1
    desk.see(WELL, 2 + GATHER)
    assert desk.mails == [("failed", (MEDIA,)), ("over", (MEDIA,))]
    found = desk.kept[MEDIA].incident
    assert found.end == "well"
    assert found.since == EPOCH + 1010.5
    assert found.reason == ILL.reason
    desk.see(WELL, KEEP)
    assert desk.kept == {}
    assert len(desk.mails) == 2


def test_what_is_ill_for_a_moment_only_has_not_failed() -> None:
    desk = Desk()
    desk.see(WELL, 10)
    desk.see(ILL, TICK)
    desk.see(WELL, 100)
    assert desk.kept == {}


def test_a_host_that_dies_with_all_its_roles_is_one_mail() -> None:
    desk = Desk()
    roles = [f"server/{role}/cm1" for role in ("call-manager", "database", "live")]
    for role in roles:
        desk.see(WELL, 5, role)
    for role in roles:
        desk.see(ILL, TICK, role)
    desk.run(10)
    assert desk.mails == [("failed", tuple(roles))]


def test_who_fails_again_before_it_was_well_for_long_has_not_been_back() -> None:
    desk = Desk()
    desk.see(WELL, 10)
    for _ in range(2):
        desk.see(ILL, 20)
        desk.see(WELL, WELL_FOR - 5)
    assert desk.mails == [("failed", (MEDIA,))]
    assert len(desk.kept[MEDIA].incident.failures) == 2
    desk.see(WELL, 20)
    assert [mail for mail, _ in desk.mails] == ["failed", "over"]


def test_flapping_is_said_once() -> None:
    desk = Desk()
    desk.see(WELL, 10)
    for _ in range(20):
        desk.see(ILL, 20)
        desk.see(WELL, WELL_FOR + 10)
    # Two that were over, and a third that says that it fails again and again.
    assert [mail for mail, _ in desk.mails] == ["failed", "over"] * (FLAPS - 1) + ["failed"]
    assert desk.kept[MEDIA].incident.flapping
    desk.see(WELL, STEADY + 10)
    assert len(desk.mails) == 2 * FLAPS
    desk.see(WELL, STEADY * 4)
    desk.see(ILL, 10)
    assert not desk.kept[MEDIA].incident.flapping


def test_the_administrator_s_switch_makes_no_mail() -> None:
    desk = Desk()
    desk.see(WELL, 10)
    desk.see(OFF, 100)
    desk.see(ILL, STARTING - 1)
    desk.see(OFF, 10)
    assert desk.mails == []
    desk.see(WELL, 10)
    desk.see(ILL, 10)
    assert len(desk.mails) == 1
    desk.see(OFF, 100)
    assert desk.kept[MEDIA].incident.end == "switched"
    desk.see(WELL, 100)
    assert len(desk.mails) == 1
    desk.see(ILL, 10)
    assert len(desk.mails) == 2


def test_what_starts_has_time_to_get_well() -> None:
    desk = Desk()
    desk.see(ILL, STARTING - 1)
    desk.see(WELL, 10)
    # Stopped in order, and started again: as it is replaced by a new release.
    desk.see(None, 5)
    desk.see(ILL, 20)
    desk.see(WELL, 100)
    assert desk.mails == []


def test_what_never_gets_well_has_failed() -> None:
    desk = Desk()
    for _ in range(10):
        desk.see(ILL, 10)
        desk.see(None, 3)
    assert desk.mails[0] == ("failed", (MEDIA,))


def test_what_has_left_is_over() -> None:
    desk = Desk()
    desk.see(WELL, 100)
    desk.see(ILL, 10)
    desk.see(None, GONE + 10)
    assert [mail for mail, _ in desk.mails] == ["failed", "over"]
    assert desk.kept[MEDIA].incident.end == "left"


def test_whose_teller_is_silent_goes_on_as_it_was() -> None:
    desk = Desk()
    trouble = "trouble/media/ms1"
    desk.see(WELL, 10, trouble)
    desk.see(ILL, 10, trouble)
    desk.see(Observation(condition="unknown"), GONE * 10, trouble)
    assert not desk.kept[trouble].incident.ended
    desk.see(ILL, 100, trouble)
    assert len(desk.mails) == 1


def test_another_call_manager_goes_on_with_what_it_finds() -> None:
    """It has looked on; or it was started a moment ago, and has never seen anything well."""
    first = Desk()
    first.see(WELL, 10)
    first.see(ILL, 1.5)
    assert not first.kept[MEDIA].incident.told
    for looked_on in (True, False):
        second = Desk()
        second.kept = dict(first.kept)
        second.now = first.now
        if looked_on:
            second.incidents = first.incidents
        second.see(ILL, 100)
        assert second.mails == [("failed", (MEDIA,))]
        second.see(WELL, 100)
        assert [mail for mail, _ in second.mails] == ["failed", "over"]


MANAGERS = ("cm1", "cm2", "cm3")
KEYS = ("server/media/ms1", "server/media/ms2", "trunk/carrier")


class World(RuleBasedStateMachine):
    """Three Call Managers, of which one decides and sends; a registry that compares and sets."""

    @initialize()
    def begin(self) -> None:
        self.now = 100.0
        self.index = 0
        self.alerts: dict[str, Kept] = {}
        self.mails: dict[str, Entry] = {}
        self.seen: dict[str, Observation] = {key: WELL for key in KEYS}  # noqa: C420 - its type
        self.opened: dict[str, Incident] = {}
        self.delivered: Counter[str] = Counter()
        self.doubtful: set[str] = set()
        self.smtp = True
        self.registry = True
        self.holder = "cm1"
        self.crash_after_sending = False
        self.desks: dict[str, Incidents] = {}
        self.outboxes: dict[str, Outbox] = {}
        self.pictures: dict[str, dict[str, Kept] | None] = {}
        self.lives = 0
        for name in MANAGERS:
            self.start(name)
        self.run(5)

    def start(self, name: str) -> None:
        self.lives += 1
        self.desks[name] = Incidents(self.now)
        self.outboxes[name] = Outbox(f"{name}/{self.lives}")
        self.pictures[name] = None

    @rule(seconds=st.sampled_from([1, 3, 20, 40, 90, 700]))
    def time_passes(self, seconds: int) -> None:
        self.run(seconds)

    @rule(key=st.sampled_from(KEYS), seen=st.sampled_from([WELL, ILL, OFF]))
    def changes(self, key: str, seen: Observation) -> None:
        self.seen[key] = seen
        self.run(TICK)

    @rule(name=st.sampled_from(MANAGERS))
    def holder_changes(self, name: str) -> None:
        self.holder = name

    @rule()
    def holder_dies(self) -> None:
        self.start(self.holder)
        self.holder = next(name for name in MANAGERS if name != self.holder)

    @rule(name=st.sampled_from(MANAGERS))
    def restarts(self, name: str) -> None:
        self.start(name)

    @rule()
    def holder_dies_when_it_has_sent(self) -> None:
        self.crash_after_sending = True

    @rule(smtp=st.booleans())
    def mail_server(self, smtp: bool) -> None:
        self.smtp = smtp

    @rule(registry=st.booleans())
    def registry_away(self, registry: bool) -> None:
        self.registry = registry

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            for desk in self.desks.values():
                desk.see(self.seen, self.now)
            if self.registry:
                self.decide()
                self.send()

    def decide(self) -> None:
        for name in MANAGERS:
            if name != self.holder:
                self.pictures[name] = None
        picture = self.pictures[self.holder]
        if picture is None:
            picture = self.pictures[self.holder] = dict(self.alerts)
        while True:
            self.index += 1
            step = self.desks[self.holder].decide(
                picture, self.now, EPOCH + self.now, f"i{self.index}"
            )
            if step is None:
                return
            self.carry_out(step, picture)

    def carry_out(self, step: Step, picture: dict[str, Kept]) -> None:
        if step.forget:
            del self.alerts[step.forget], picture[step.forget]
        for one in step.records:
            self.index += 1
            if one.id not in self.opened:
                before = self.alerts.get(one.key)
                assert before is None or before.incident.ended
                self.opened[one.id] = one
            self.alerts[one.key] = picture[one.key] = Kept(one, self.index)
        if step.mail:
            made = f"{step.records[0].id}-{step.mail}"
            assert made not in self.mails
            self.index += 1
            subject = " ".join(f"{step.mail}:{one.id}" for one in step.records)
            mail = Mail(id=made, subject=subject, text="", made=self.now)
            self.mails[made] = Entry(mail, self.index)

    def send(self) -> None:
        due = self.outboxes[self.holder].due(self.mails, self.now)
        if due is None:
            return
        claimed = self.outboxes[self.holder].claimed(due.mail)
        had = ["noc"] if self.smtp else []
        self.delivered.update([due.mail.id] if self.smtp else [])
        self.index += 1
        if self.crash_after_sending:
            self.crash_after_sending = False
            self.mails[due.mail.id] = Entry(claimed, self.index)
            self.doubtful.add(due.mail.id)
            self.holder_dies()
            return
        noted = after(claimed, ["noc"], had, "" if self.smtp else "away", self.now)
        self.mails[due.mail.id] = Entry(noted, self.index)

    @invariant()
    def none_twice(self) -> None:
        told: Counter[str] = Counter()
        for name, times in self.delivered.items():
            assert times == 1 or name in self.doubtful
            told.update(self.mails[name].mail.subject.split())
        assert all(times == 1 for times in told.values())

    def teardown(self) -> None:
        if not hasattr(self, "seen"):
            return
        self.smtp = self.registry = True
        self.crash_after_sending = False
        self.run(outbox.LONGEST_PAUSE + CLAIM + 10)
        told = {what for name in self.delivered for what in self.mails[name].mail.subject.split()}
        for key, seen in self.seen.items():
            kept = self.alerts.get(key)
            failing = kept is not None and not kept.incident.ended
            assert failing if seen == ILL else True
        for one in self.opened.values():
            assert f"failed:{one.id}" in told
        for kept in self.alerts.values():
            if kept.incident.end == "well":
                assert f"over:{kept.incident.id}" in told
        # What goes on for ever is damped: by WINDOW a thing makes few mails.
        assert all(entry.mail.sent for entry in self.mails.values())


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(flaps=st.lists(st.tuples(st.sampled_from([WELL, ILL]), st.floats(0.5, 200)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_flapping_is_damped(flaps: list[tuple[Observation, float]]) -> None:
    """However it goes up and down, of one thing there are few mails in any time."""
    desk = Desk()
    desk.see(WELL, 5)
    made: list[float] = []
    for seen, seconds in flaps:
        before = len(desk.mails)
        desk.see(seen, seconds)
        made += [desk.now] * (len(desk.mails) - before)
    for at in made:
        assert sum(at <= other < at + STEADY for other in made) <= 2 * FLAPS
    kinds = [mail for mail, _ in desk.mails]
    assert kinds == ["failed", "over"] * (len(kinds) // 2) + ["failed"] * (len(kinds) % 2)


def test_a_mail_that_nobody_takes_waits_longer_each_time() -> None:
    mine = Outbox("cm1/1")
    mail = Mail(id="a", subject="", text="", made=0.0)
    mails = {"a": Entry(mail, 1)}
    assert mine.due(mails, 0.0) is not None
    now, index = 0.0, 1
    for attempts in range(1, 12):
        index += 1
        mail = after(mine.claimed(mail), ["noc"], [], "refused", now)
        mails = {"a": Entry(mail, index)}
        assert mail.attempts == attempts
        assert mine.due(mails, now) is None
        now += pause(attempts)
        assert mine.due(mails, now) == mails["a"]
    assert pause(11) == outbox.LONGEST_PAUSE
    assert after(mail, ["noc"], [], "refused", outbox.GIVE_UP).given_up


def test_who_had_it_is_not_sent_it_again() -> None:
    mail = Mail(id="a", subject="", text="", made=0.0)
    mail = after(mail, ["a@x", "b@x"], ["a@x"], "b@x: 450 later", 5.0)
    assert (mail.had, mail.open, mail.problem) == (("a@x",), True, "b@x: 450 later")
    mail = after(mail, ["a@x", "b@x"], ["b@x"], "", 9.0)
    assert (mail.had, mail.sent, mail.problem) == (("a@x", "b@x"), 9.0, "")


def test_a_claim_is_another_s_until_it_has_surely_ended() -> None:
    mail = Mail(id="a", subject="", text="", made=0.0, claim="cm1/1")
    mails = {"a": Entry(mail, 7)}
    other, again = Outbox("cm2/5"), Outbox("cm1/2")
    assert again.due(mails, 0.0) is not None
    assert other.due(mails, 0.0) is None
    assert other.due(mails, CLAIM - 1) is None
    assert other.due(mails, CLAIM) is not None
    # Whoever claims it anew has as long.
    mails = {"a": Entry(msgspec.structs.replace(mail, claim="cm3/1"), 8)}
    assert other.due(mails, CLAIM) is None
