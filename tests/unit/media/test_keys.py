from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media import keys
from services.media.keys import CALLS, KEPT, LAST, Keys, read_log


def told(call: str, event: object, kind: str = "DTMF", tag: str = "f", tags: str = '"f"') -> bytes:
    """As rtpengine 10.5.3 prints it: nothing is escaped."""
    return (
        f'{{"callid":"{call}","source_tag":"{tag}","tags":[{tags}],"type":"{kind}",'
        f'"timestamp":1795686894,"source_ip":"10.20.0.5","event":{event},'
        '"duration":120,"volume":10}'
    ).encode(errors="surrogatepass")


def take(found: Keys, datagram: bytes, now: float) -> None:
    pressed = read_log(datagram)
    if pressed is not None:
        found.pressed(*pressed, now)


def test_keys_are_told_in_order_with_their_age() -> None:
    found = Keys()
    for at, (call, event) in enumerate((("a", 5), ("b", 1), ("a", 11), ("a", 10))):
        take(found, told(call, event), 100.0 + at)
    assert found.of(["a", "none"], 105.0) == {"a": [("5", 5.0), ("#", 3.0), ("*", 2.0)]}


def test_what_is_old_or_too_much_is_forgotten() -> None:
    found = Keys()
    for at in range(LAST + 5):
        take(found, told("a", at % 10), float(at))
    ((first, _), *more) = found.of(["a"], 70.0)["a"]
    assert (first, len(more)) == ("5", LAST - 1)
    assert not found.of(["a"], LAST + 5 + KEPT)
    for number in range(CALLS + 1):
        take(found, told(f"c{number}", 1), 1000.0)
    assert list(found.of(["c0", "c1"], 1000.0)) == ["c1"]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(told, st.text(), st.one_of(st.none(), st.integers(), st.text(), st.floats())),
        st.builds(told, st.text(), st.integers(0, 15), st.text()),
    )
)
def test_no_datagram_breaks_it(datagram: bytes) -> None:
    found = Keys()
    take(found, datagram, 1.0)
    for pressed in found.of(["", "a"], 1.0).values():
        assert all(key in keys.KEYS for key, _ in pressed)


@pytest.mark.parametrize("tags", ["", '"t1"', '"t1","t2","t3"'])
def test_all_keys_whatever_the_number_of_parties(tags: str) -> None:
    found = Keys()
    for event in range(18):
        take(found, told("a", event, tags=tags), 1.0)
    assert "".join(key for key, _ in found.of(["a"], 1.0)["a"]) == "0123456789*#ABCD"


@given(st.text(), st.text())
def test_no_call_speaks_for_another(other: str, tag: str) -> None:
    whole = told("victim", 9).decode()
    for call in ('x","callid":"victim', f'victim","{other}', whole, whole + other):
        for name in (tag, f'{tag}","callid":"victim', whole[1:]):
            found = Keys()
            take(found, told(call, 1, tag=name, tags=f'"{other}","{name}"'), 1.0)
            assert not found.of(["victim"], 1.0)


@given(st.text(), st.text())
def test_no_tag_says_another_key_or_call(tag: str, other: str) -> None:
    found = Keys()
    whole = told("victim", 9).decode()
    for name in (tag, f'{tag}","callid":"victim', f'f","event":9,"x":"{other}', whole[1:]):
        take(found, told("mine", 1, tag=name, tags=f'"{other}","{name}"'), 1.0)
    assert not found.of(["victim"], 1.0)
    assert {key for key, _ in found.of(["mine"], 1.0).get("mine", [])} <= {"1"}
