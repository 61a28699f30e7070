"""Step boundaries by stop string, stop token ids and token count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime.steps import StepEnds
from fasttts_sglang.search.core import Finish


class Words:
    """A tokenizer whose tokens are the strings it is given."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def decode(self, ids: list[int]) -> str:
        return "".join(self.texts[i] for i in ids)


#                 0    1     2       3      4    5
WORDS = Words("a", "\n", ".\n\n", "\n\n", "b", "<eos>")


def ends(**options: object) -> StepEnds:
    defaults = {"stop": ["\n\n"], "stop_token_ids": [], "step_tokens": None}
    return StepEnds(WORDS, **{**defaults, **options}, eos_token_ids=[5])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([0, 3, 4, 3], [2, 4]),
        ([0, 1, 1, 4], [3, 4]),  # the stop string spans two tokens
        ([0, 2, 4], [2, 3]),  # it sits inside one
        ([0, 1, 4, 1], [4]),  # two single newlines are no blank line
        ([0, 3, 3], [2, 3]),
        ([], []),
    ],
)
def test_split_by_stop_string(ids: list[int], expected: list[int]) -> None:
    assert ends().split(ids, 0) == expected


def test_a_boundary_is_not_found_again_in_the_next_step() -> None:
    """The stop string stays in the decoded tail; matching it again would end every next step."""
    assert not ends().is_boundary([0, 3, 0], 2, 3)
    assert not ends().is_boundary([1, 1], 1, 2)


def test_split_by_token_ids_and_by_count() -> None:
    assert ends(stop=[], stop_token_ids=[4]).split([0, 4, 0, 4, 0], 0) == [2, 4, 5]
    assert ends(stop=[], step_tokens=2).split([0] * 5, 0) == [2, 4, 5]


@pytest.mark.parametrize(
    ("ids", "full", "finish"),
    [
        ([0, 3], False, Finish.STOP),
        ([0, 5], False, Finish.EOS),
        ([0, 5], True, Finish.EOS),  # an answer that ends on the very last token is an answer
        ([0, 0], False, Finish.LENGTH),  # a step cut by its own limit
        ([0, 3], True, Finish.LENGTH),  # nothing may follow, so it cannot be extended
    ],
)
def test_finish_reasons_are_kept_apart(ids: list[int], full: bool, finish: Finish) -> None:
    assert ends().finish(ids, 0, full=full) is finish


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5)))
def test_a_plain_token_ends_nothing(ids: list[int], stop_token_ids: list[int]) -> None:
    """The decode loop does not even look at rows whose token is plain."""
    rules = ends(stop_token_ids=stop_token_ids)
    for end in range(1, len(ids) + 1):
        if rules.is_plain(ids[end - 1]):
            assert not rules.is_eos(ids[end - 1])
            assert not rules.is_boundary(ids, 0, end) or rules.is_boundary(ids, 0, end - 1)
    assert rules.plain <= {0, 4} - set(stop_token_ids)
