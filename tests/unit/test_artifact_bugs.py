"""What goes wrong in the published artifact of FastTTS (arXiv:2509.00195), and must not here.

Each test tells the story of one class of bugs that was found by reading that code.
"""

from collections.abc import Sequence

from fasttts_sglang.scheduling.step import Step
from fasttts_sglang.scheduling.tree import SearchTree
from fasttts_sglang.search.aggregate import AGGREGATIONS
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Expand, Expander, Finish, Node, drive
from fasttts_sglang.search.params import SearchParams, Speculation
from fasttts_sglang.search.seeds import path_seed

LAST = AGGREGATIONS["last"]


def grown(finishes: dict[int, Finish], score: float = 0.5) -> Expander:
    """An expander: a node's finish is a function of its depth and its last index."""

    def expand(expansions: Sequence[Expand]) -> list[Node]:
        return [
            Node(
                (*e.node.path, i),
                (*e.node.scores, score),
                e.node.num_tokens + 64,
                finishes.get(i, Finish.STOP) if e.node.depth < 3 else Finish.EOS,
            )
            for e in expansions
            for i in range(e.num_children)
        ]

    return expand


def test_a_beam_that_is_cut_does_not_vanish() -> None:
    """A length cap after a step boundary marked a beam complete while it was filtered out of the
    active ones and never added to the complete ones: 8 of 16 beams were gone."""
    params = SearchParams(n=4, branch=4, max_steps=1)
    everything_cut = dict.fromkeys(range(4), Finish.LENGTH)
    found = drive(make(params), grown(everything_cut))
    assert [node.path for node in found] == [(0,), (1,), (2,), (3,)]
    assert {node.finish for node in found} == {Finish.LENGTH}


def test_a_length_limit_is_not_the_end_of_an_answer() -> None:
    """Any stop by length counted as EOS, so a search with a step limit of 64 tokens ended after its
    first round, and a cut text was returned as an answer."""
    params = SearchParams(n=8, branch=4)
    found = drive(make(params), grown({0: Finish.LENGTH}))
    assert found and {node.finish for node in found} == {Finish.EOS}
    assert {node.depth for node in found} == {4}, "the search went on"


def test_a_step_decoded_ahead_is_ranked_by_its_own_score() -> None:
    """A duplicate whose only speculated step was truncated kept the look-ahead score of its parent:
    6 of 16 beams were ranked by a score for text that they did not have."""
    tree = SearchTree(make(SearchParams(n=2, branch=2)), LAST, Speculation.FULL)
    tree.begin()
    good, bad = tree.members

    def finish(step: Step, *scores: float) -> None:
        tree.complete(step, 10 * len(step.path), Finish.STOP)
        tree.score(step, scores)

    finish(good, 0.9)
    ahead = next(step for step in tree.ahead() if step.path == (0, 0))
    finish(ahead, 0.9, 0.1)  # decoded and scored before its round
    finish(bad, 0.2)
    assert tree.advance()
    assert [step.path for step in tree.members] == [(0, 0), (0, 1)]
    finish(tree.members[1], 0.9, 0.5)
    assert tree.advance()
    assert {step.path[:2] for step in tree.members} == {(0, 1)}, "(0, 0) was kept for its parent"


def test_every_child_is_a_sample_of_its_own() -> None:
    """When a whole step had been speculated, all duplicates of the beam kept that same step: 16
    beams had 7 different texts. Here a child's text follows from its seed."""
    paths = [(i, j, k) for i in range(4) for j in range(4) for k in range(4)]
    assert len({path_seed(7, path) for path in paths}) == len(
        {tuple(reversed(trimmed(path))) for path in paths}
    )


def trimmed(path: tuple[int, ...]) -> tuple[int, ...]:
    """Child 0 goes on with its parent's stream, so trailing zeros do not change the seed."""
    while path and path[-1] == 0:
        path = path[:-1]
    return path


def test_siblings_never_share_a_seed() -> None:
    for parent in [(), (0,), (3, 0), (1, 2, 3)]:
        seeds = [path_seed(11, (*parent, index)) for index in range(256)]
        assert len(set(seeds)) == 256
