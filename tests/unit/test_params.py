"""Search parameters: what is accepted, and how a refusal reads."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang import BadRequest, SearchParams

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
NAMES = [field.name for field in fields(SearchParams)]


@given(st.dictionaries(st.sampled_from([*NAMES, "nn", ""]), JSON, max_size=4))
def test_anything_is_accepted_or_refused_by_name(values: dict[str, Any]) -> None:
    try:
        params = SearchParams.from_dict(values)
    except BadRequest as refused:
        assert refused.field in values or refused.field in NAMES
        assert str(refused).startswith(f"{refused.field}: ")
    else:
        assert SearchParams.from_dict(params.to_dict()) == params


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, "n: it must be in [1, 4096], got 0"),
        ({"n": True}, "n: must be an integer, got True"),
        ({"n": "8"}, "n: must be an integer, got '8'"),
        ({"n": 10}, "n: 10 is not divisible by branch=4"),
        ({"algorithm": "magic"}, "algorithm: 'magic' is unknown; known are beam, best_of_n"),
        ({"aggregation": "sum"}, "aggregation: must be one of last, mean, min, prod, got 'sum'"),
        ({"temperature": float("nan")}, "temperature: must be a finite number, got nan"),
        ({"top_p": 0}, "top_p: it must be in (0, 1], got 0"),
        ({"top_k": 0}, "top_k: must be -1 (off) or at least 1, got 0"),
        ({"stop": ["a"] * 40}, "stop: its length must be in"),
        ({"stop": [""]}, "stop: each text must have 1 to 64 characters"),
        ({"beams": 4}, "beams: is no search parameter"),
    ],
)
def test_refusals_name_field_value_and_bound(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        SearchParams.from_dict(values)
    assert str(refused.value).startswith(message)


def test_best_of_n_needs_no_branch() -> None:
    assert SearchParams(algorithm="best_of_n", n=3).n == 3
