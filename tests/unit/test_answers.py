"""Reading answers and choosing among them."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.search.answers import EXTRACTORS, SELECTIONS, extract, normalize, select
from fasttts_sglang.search.core import Finish


@dataclass(frozen=True)
class Candidate:
    path: tuple[int, ...]
    score: float | None
    answer: str | None
    finish: Finish = Finish.EOS


candidates = st.lists(
    st.tuples(
        st.none() | st.floats(0, 1),
        st.none() | st.sampled_from(["1", "01", "1.0", "2", "x"]),
        st.sampled_from(list(Finish)),
    ),
    max_size=8,
).map(lambda rows: [Candidate((i,), *row) for i, row in enumerate(rows)])


@given(candidates, st.sampled_from(SELECTIONS), st.randoms())
def test_a_choice_is_consistent_and_independent_of_order(
    found: list[Candidate], selection: str, rng
) -> None:  # type: ignore[no-untyped-def]
    choice = select(found, selection)
    again = select(rng.sample(found, len(found)), selection)
    assert (choice.answer, choice.best) == (again.answer, again.best)
    assert choice.votes == pytest.approx(again.votes)
    if choice.answer is not None:
        assert choice.best is not None
        assert choice.best.answer == choice.answer
        top = max(choice.votes.values())
        if selection != "best":
            assert choice.votes[normalize(choice.answer)] == top
    if any(c.finish is Finish.EOS for c in found):
        assert choice.best is not None
        assert choice.best.finish is Finish.EOS, "a cut path outvoted answers"


def test_the_three_selections_differ_where_they_should() -> None:
    votes = [Candidate((0,), 0.9, "5"), Candidate((1,), 0.3, "7"), Candidate((2,), 0.3, "7.0")]
    votes += [Candidate((3,), 0.1, "8")] * 3
    assert select(votes, "best").answer == "5"
    assert select(votes, "majority").answer == "8"
    assert select(votes, "weighted").answer == "5"
    assert select(votes, "weighted").votes == pytest.approx({"5": 0.9, "7": 0.6, "8": 0.3})


def test_cut_paths_vote_only_if_there_is_nothing_else() -> None:
    cut = [Candidate((i,), 0.9, "1", Finish.LENGTH) for i in range(3)]
    assert select([*cut, Candidate((9,), 0.1, "2")], "majority").answer == "2"
    assert select(cut, "majority").answer == "1"
    assert select([], "best").answer is None


@pytest.mark.parametrize(
    ("text", "extractor", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}} and", "auto", "\\frac{1}{2}"),
        ("\\boxed{never closed", "auto", "\\boxed{never closed"),
        ("1+1=2\n\nanswer:2", "auto", "2"),
        ("Answer: 3\nno, answer: 4\n", "auto", "4"),
        ("it is 17", "last_line", "it is 17"),
        ("a -12 b", "number", "-12"),
        ("none here", "number", None),
        ("", "auto", None),
        ("answer:", "auto", None),
    ],
)
def test_extraction(text: str, extractor: str, answer: str | None) -> None:
    assert extract(text, extractor) == answer


@given(
    st.text(alphabet="\\boxed{}answer: -1,.\n$", max_size=200), st.sampled_from(sorted(EXTRACTORS))
)
def test_any_text_is_read_without_error(text: str, extractor: str) -> None:
    answer = extract(text, extractor)
    assert answer is None or (answer and normalize(normalize(answer)) == normalize(answer))


@pytest.mark.parametrize(
    "text", ["\\boxed{" * 50_000, "{" * 100_000, "answer:" * 50_000, "1," * 90_000]
)
def test_hostile_texts_are_read_at_once(text: str) -> None:
    for extractor in EXTRACTORS:
        extract(text, extractor)
