"""What a node's KV is worth, from what its search still needs."""

from collections.abc import Sequence

from fasttts_sglang import SearchParams
from fasttts_sglang.scheduling.retention import worths
from fasttts_sglang.scheduling.step import Step
from fasttts_sglang.scheduling.tree import SearchTree
from fasttts_sglang.search.aggregate import AGGREGATIONS
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.params import Speculation


def begun(n: int = 8, mode: Speculation = Speculation.FULL) -> SearchTree:
    params = SearchParams(n=n, branch=4)
    tree = SearchTree(make(params), AGGREGATIONS["last"], mode)
    tree.begin()
    return tree


def of(tree: SearchTree, steps: Sequence[Step], *turn: float) -> list[float | None]:
    return list(worths(tree, [(step, step.complete) for step in steps], *turn))


def test_what_is_asked_for_is_worth_most_the_first_of_the_round_before_the_last() -> None:
    tree = begun()
    first, *_, last = tree.members
    tree.complete(first, 10, Finish.STOP)
    values = of(tree, tree.members)
    assert values[1:] == sorted(values[1:], key=lambda worth: -(worth or 0))
    assert all(worth is not None and 1 < worth <= 2 for worth in values[1:])
    assert values[0] is not None and values[0] < 1
    assert of(tree, [last], 0.5, 0.5) == [2 - 0.5 - 0.5 * 7 / 8]


def test_the_next_round_goes_the_other_way() -> None:
    tree = begun()
    for step in tree.members:
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (0.5,))
    assert tree.advance()
    values = of(tree, tree.members)
    assert values == sorted(values, key=lambda worth: worth or 0)


def test_nobody_needs_an_answer_and_the_likelier_survivor_is_worth_more() -> None:
    tree = begun()
    answer, good, bad, *_ = tree.members
    tree.complete(answer, 10, Finish.EOS)
    for step, score in ((good, 0.9), (bad, 0.6)):
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (score,))
    ahead = tree.ahead()
    assert ahead and {step.path[:-1] for step in ahead} <= {good.path, bad.path}
    none, more, less, sure = of(tree, [answer, good, bad, tree.members[3]])
    assert none is None
    assert more is not None and less is not None and sure is not None
    assert less < more < sure
    assert of(tree, ahead) == [step.p for step in ahead]


def test_what_hardly_has_a_chance_is_worth_nothing() -> None:
    tree = begun()
    good, bad, *_ = tree.members
    for step, score in ((good, 0.9), (bad, 0.1)):
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (score,))
    tree.ahead()
    assert 0 < tree.chance(bad) < 0.01 < tree.chance(good)
    assert of(tree, [good, bad]) == [tree.chance(good), None]


def test_without_speculation_scores_tell_as_much() -> None:
    tree = begun(mode=Speculation.OFF)
    good, bad, *others = tree.members
    for step, score in ((good, 0.9), (bad, 0.6)):
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (score,))
    flat = of(tree, [good, bad])
    assert flat[0] == flat[1]
    tree.look()
    more, less = of(tree, [good, bad])
    assert more is not None and less is not None and less < more
    for step in others:
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (0.7,))
    tree.look()
    assert [round(w or 0) for w in of(tree, [good, bad])] == [1, 0]
    assert not good.children  # nothing is decoded ahead


def test_survivors_of_earlier_rounds_are_kept_for_what_lives_below_them() -> None:
    tree = begun()
    earlier = tree.members
    for index, step in enumerate(earlier):
        tree.complete(step, 10, Finish.STOP)
        tree.score(step, (0.1 * index,))
    tree.advance()
    kept = [step for step in earlier if step.path in tree.kept]
    assert kept and of(tree, kept) == [None] * len(kept)
    assert {step.parent for step in tree.members} == set(kept)
    assert None not in of(tree, tree.members)  # a node that is not decoded needs its parent's KV


def test_a_survivor_without_children_is_worth_least() -> None:
    tree = SearchTree(
        make(SearchParams(n=8, branch=4, algorithm="mcts")), AGGREGATIONS["last"], Speculation.FULL
    )
    tree.begin()
    left: list[Step] = []
    while not left:  # until the search goes on elsewhere than below all that it has kept
        for index, step in enumerate(tree.members):
            tree.complete(step, 10, Finish.STOP)
            tree.score(step, (0.1 + 0.1 * index % 0.8,))
        decided = tree.members
        assert tree.advance() and tree.members
        left = [step for step in decided if step.path in tree.kept and not step.children]
    assert of(tree, left) == [0.0] * len(left)
