"""`pbxctl probe` against a PBX that works, and against what does not."""

from __future__ import annotations

import msgspec
import pytest

from pbxctl import probe
from tests.support.audio import voices_in
from tests.support.pbx import DOMAIN, Pbx, password

ANNA = probe.Account(username="2001", password=password("2001"), domain=DOMAIN)
BEN = probe.Account(username="2002", password=password("2002"), domain=DOMAIN)


def target(office: Pbx) -> probe.Target:
    return probe.Target(host=office.address, ca_file=str(office.certificate))


async def test_the_command_probes_every_transport(office: Pbx) -> None:
    recordings = office.root / "recordings"
    found = await office.json("probe", "--seconds", "2", "--recordings", str(recordings))
    assert found["ok"]
    assert [trial["transport"] for trial in found["trials"]] == ["udp", "tcp", "tls"]
    for trial in found["trials"]:
        assert trial["problems"] == []
        assert trial["codec"].startswith("PCM")
        assert 0 < trial["ringing"] < 30
        for way in trial["directions"]:
            assert way["likeness"] > 0.8
            assert way["coverage"] > 0.95
            assert 0 <= way["delay"] < 1
            assert way["lost"] == 0
    heard = [voices_in(path) for path in recordings.glob("tls-heard-by-*.wav")]
    assert sorted(heard, key=min) == [{0}, {1}]


async def test_a_wrong_password_is_named(office: Pbx) -> None:
    wrong = msgspec.structs.replace(ANNA, password="wrong")
    report = await probe.run(target(office), wrong, BEN, transports=("udp",))
    assert not report.ok
    assert report.trials[0].problems[0].endswith("401 twice: the password is wrong")


async def test_a_certificate_that_nobody_vouches_for_is_named(office: Pbx) -> None:
    distrusting = msgspec.structs.replace(
        target(office), ca_file="/etc/ssl/certs/ca-certificates.crt"
    )
    report = await probe.run(distrusting, ANNA, BEN, transports=("tls",))
    assert "the server's certificate is not accepted" in report.trials[0].problems[0]


async def test_nobody_there_is_named_by_transport(office: Pbx) -> None:
    nowhere = msgspec.structs.replace(target(office), host=office.host())
    report = await probe.run(nowhere, ANNA, BEN, transports=("tcp", "tls"))
    for trial in report.trials:
        assert "cannot connect: Connection refused" in trial.problems[0]


async def test_a_callee_that_does_not_answer_leaves_what_was_measured(office: Pbx) -> None:
    stranger = probe.Account(username="2005", password=password("2005"), domain=DOMAIN)
    # 2005 forwards to 2002, where nobody is registered.
    report = await probe.run(target(office), ANNA, stranger, transports=("udp",), seconds=1)
    trial = report.trials[0]
    assert trial.register is not None
    assert trial.answer is None
    assert trial.problems[0].startswith("call to 2005: ")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("nosuch.invalid", "nosuch.invalid: no address is known for it")],
)
async def test_a_name_without_an_address(host: str, expected: str) -> None:
    with pytest.raises(probe.ProbeError, match=expected):
        await probe.run(probe.Target(host=host), ANNA, BEN)


async def test_what_makes_no_sense_is_refused(office: Pbx) -> None:
    with pytest.raises(probe.ProbeError, match="cannot call itself"):
        await probe.run(target(office), ANNA, ANNA)
    with pytest.raises(probe.ProbeError, match="give at least 1"):
        await probe.run(target(office), ANNA, BEN, seconds=0.1)
