"""Reading answers and choosing among them."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.search.answers import SELECTIONS, normalize, select
from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.extraction import EXTRACTORS, extract


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


def alike(one: str, other: str) -> bool:
    """An equality that strings do not show."""
    return one.isdigit() and other.isdigit() and int(one) % 2 == int(other) % 2


@given(candidates, st.sampled_from(SELECTIONS), st.randoms())
def test_groups_of_equal_answers_are_independent_of_order(
    found: list[Candidate], selection: str, rng
) -> None:  # type: ignore[no-untyped-def]
    choice = select(found, selection, alike)
    again = select(rng.sample(found, len(found)), selection, alike)
    assert (choice.answer, choice.best) == (again.answer, again.best)
    assert choice.votes == pytest.approx(again.votes)
    assert list(choice.votes) == list(again.votes), "a group is named by its best candidate"
    assert not any(alike(a, b) for a in choice.votes for b in choice.votes if a != b)
    strings = select(found, selection)
    assert sum(choice.votes.values()) == pytest.approx(sum(strings.votes.values()))
    assert select(found, selection, lambda *_: False) == strings


def test_equal_answers_win_a_vote_together() -> None:
    votes = [Candidate((0,), 0.9, "4"), Candidate((1,), 0.8, "4"), Candidate((2,), 0.3, "1")]
    votes += [Candidate((3,), 0.2, "3"), Candidate((4,), 0.1, "5")]
    assert select(votes, "majority").answer == "4"
    together = select(votes, "majority", alike)
    assert (together.answer, together.votes) == ("1", {"4": 2.0, "1": 3.0})


def test_an_answer_is_compared_once_with_each_group() -> None:
    asked = []

    def differ(one: str, other: str) -> bool:
        asked.append((one, other))
        return False

    votes = [Candidate((i,), 1 - i / 9, text) for i, text in enumerate(["1", "x", "1.0", "x", "2"])]
    select(votes, "majority", differ)
    assert asked == [("1", "x"), ("1", "2"), ("x", "2")]


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
        ("The answer is (B)", "choice", "B"),
        ("the answer is **c**.", "choice", None),
        ("the answer is (c).", "choice", "C"),
        ("\\boxed{\\text{C}}", "choice", "C"),
        ("\\boxed{\\textbf{(E)}\\ 12}", "choice", "E"),
        ("\\boxed{b}", "choice", "B"),
        ("answer: D", "choice", "D"),
        ("Answer:\u00a0$J$", "choice", "J"),
        ("Option A is wrong.\n\nThe correct choice is B, as I said.", "choice", "B"),
        ("The answer is B. I hope this answer helps.", "choice", "B"),
        ("The answer, I think, is I.", "choice", "I"),
        ("(A) is too small\n\nC", "choice", "C"),
        ("We think of A", "choice", None),
        ("\\boxed{42}", "choice", None),
        ("", "choice", None),
        ("```python\nx = 1\n```\nor\n```py\ny = 2\n```\nDone.", "code", "y = 2"),
        ("```python\nx = 1\n```\n```bash\nls\n```", "code", "x = 1"),
        ("```\nx = 1\n\ny = 2", "code", "x = 1\n\ny = 2"),
        ("  ```python\n  if x:\n    y\n  ```", "code", "if x:\n  y"),
        ("```\ndef f():\n  pass\n```\nUse:\n```py\nf()\n```", "code", "def f():\n  pass"),
        ("x = 1", "code", None),
        ("```python\n```", "code", None),
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


HOSTILE = ["\\boxed{" * 50_000, "{" * 100_000, "answer:" * 50_000, "1," * 90_000, "```\n" * 50_000]
HOSTILE += ["answer I" * 50_000, "\\boxed{" + "I " * 90_000 + "}", "```py\n" + " x\n" * 50_000]
HOSTILE += ["```\n" + " \n" * 90_000, "```\n" + " " * 90_000, "```\ndef \n```\n" * 20_000]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_read_at_once(text: str) -> None:
    for extractor in EXTRACTORS:
        extract(text, extractor)
