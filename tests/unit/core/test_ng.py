from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.ng import decode, encode

VALUES = st.recursive(
    st.integers(-(2**62), 2**62) | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=5))
def test_what_is_sent_is_what_is_read(parameters: dict[str, object]) -> None:
    parameters.pop("command", None)
    cookie, found = decode(encode(b"c_1", "offer", parameters))
    assert cookie == b"c_1"
    assert found == {**parameters, "command": b"offer"}


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    try:
        decode(data)
    except ValueError:
        return


@pytest.mark.parametrize("data", [b"", b"c", b"c ", b"c i1e", b"c " + b"l" * 5000, b"c d1:a"])
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)
