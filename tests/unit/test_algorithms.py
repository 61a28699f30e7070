"""Search algorithms against a simulated tree: what they promise, for any tree."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.search.aggregate import AGGREGATIONS
from fasttts_sglang.search.algorithms import BUILT_IN, make, parameters_of
from fasttts_sglang.search.beam import keep_best
from fasttts_sglang.search.core import Expand, Finish, Node, Round, drive, resume, start
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.widths import proportional, systematic

from .naive import NAIVE

finishes = st.sampled_from(list(Finish))
scores = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(tuple)


@dataclass
class Tree:
    """Children that depend on their path alone; `order` shuffles when they complete."""

    seed: int
    end: float = 0.3  # chance that a step ends the answer
    cut: float = 0.1  # chance that it is cut
    order: int = 0

    def __call__(self, expansions: Sequence[Expand]) -> list[Node]:
        children = [self.child(e, i) for e in expansions for i in range(e.num_children)]
        random.Random(self.order).shuffle(children)
        return children

    def child(self, expand: Expand, index: int) -> Node:
        parent = expand.node
        path = (*parent.path, index)
        rng = random.Random(f"{self.seed} {path}")
        score = round(rng.random(), 1)  # rounded, so that ties happen
        draw = rng.random()
        stop = Finish.STOP if expand.steps is not None else Finish.EOS
        finish = Finish.EOS if draw < self.end else Finish.LENGTH if draw > 1 - self.cut else stop
        return Node(path, (*parent.scores, score), parent.num_tokens + 1, finish)


trees = st.builds(Tree, seed=st.integers(0, 10_000), end=st.sampled_from([0.0, 0.2, 0.9]))
searches = st.builds(
    lambda branch, kept, max_steps, aggregation: SearchParams(
        n=branch * kept, branch=branch, max_steps=max_steps, aggregation=aggregation
    ),
    branch=st.integers(1, 4),
    kept=st.integers(1, 5),
    max_steps=st.integers(1, 8),
    aggregation=st.sampled_from(sorted(AGGREGATIONS)),
)


@given(trees, searches)
def test_beam_search_keeps_its_promises(tree: Tree, params: SearchParams) -> None:
    search = make(params)
    state = start(search)
    rounds = answers = 0
    while isinstance(state, Round):
        rounds += 1
        assert answers < params.n, "it has its answers and goes on"
        assert all(expand.node.extendable for expand in state.expansions)
        assert state.num_children <= params.n
        children = sorted(tree(state.expansions), key=lambda node: node.path)
        survivors = state.decide(children)
        ended = [node for node in children if not node.extendable]
        assert [node for node in survivors if not node.extendable] == ended, "an ended path is lost"
        assert sum(node.extendable for node in survivors) <= params.n // params.branch
        answers += sum(node.finish is Finish.EOS for node in survivors)
        state = resume(search, survivors)
    assert rounds <= params.max_steps
    assert len({node.path for node in state}) == len(state)
    aggregate = AGGREGATIONS[params.aggregation]
    ranks = [(-aggregate(node.scores), node.path) for node in state]
    assert ranks == sorted(ranks)
    assert sum(node.finish is Finish.EOS for node in state) == answers
    if answers:
        assert {node.finish for node in state} == {Finish.EOS}, "a cut path beside answers"


@given(trees, searches, st.integers(1, 100))
def test_the_order_of_completion_does_not_matter(
    tree: Tree, params: SearchParams, order: int
) -> None:
    for algorithm in BUILT_IN:
        chosen = params.replace(algorithm=algorithm)
        shuffled = Tree(tree.seed, tree.end, tree.cut, order)
        assert drive(make(chosen), tree) == drive(make(chosen), shuffled)


@given(trees, searches, st.sampled_from(sorted(BUILT_IN)), st.integers(1, 3))
def test_every_algorithm_keeps_its_promises(
    tree: Tree, params: SearchParams, algorithm: str, verify_every: int
) -> None:
    """No more than n rows at once, no node asked for twice, a cut path never beside answers."""
    params = params.replace(algorithm=algorithm, verify_every=verify_every)
    search = make(params)
    state, asked = start(search), set()
    rounds = 0
    while isinstance(state, Round):
        rounds += 1
        assert 0 < state.num_children <= params.n
        children = sorted(tree(state.expansions), key=lambda node: node.path)
        paths = {child.path for child in children}
        assert len(paths) == state.num_children
        assert not paths & asked
        asked |= paths
        survivors = state.decide(children)
        assert {node.path for node in survivors} <= paths
        state = resume(search, survivors)
    assert rounds <= params.max_steps
    assert {node.path for node in state} <= asked
    assert len({node.path for node in state}) == len(state) > 0
    aggregate = AGGREGATIONS[params.aggregation]
    ranks = [(-aggregate(node.scores), node.path) for node in state]
    assert ranks == sorted(ranks)
    if any(node.finish is Finish.EOS for node in state):
        assert {node.finish for node in state} == {Finish.EOS}


@pytest.mark.parametrize("algorithm", sorted(BUILT_IN))
@given(tree=trees, params=searches)
def test_it_does_what_its_naive_version_does(
    algorithm: str, tree: Tree, params: SearchParams
) -> None:
    params = params.replace(algorithm=algorithm)
    aggregate = AGGREGATIONS[params.aggregation]
    steps = None if algorithm in ("best_of_n", "self_consistency") else 1

    def grow(node: Node, indices: Iterable[int]) -> list[Node]:
        indices = list(indices)
        return [tree.child(Expand(node, len(indices), steps), index) for index in indices]

    expected = NAIVE[algorithm](grow, params, lambda node: aggregate(node.scores))
    assert drive(make(params), tree) == expected


def scored(*values: float) -> list[Node]:
    return [Node((i,), (value,), 1) for i, value in enumerate(values)]


def first_round(**params: Any) -> Round:
    state = start(make(SearchParams(**params)))
    assert isinstance(state, Round)
    return state


def widths(survivors: list[Node]) -> dict[int, int]:
    return dict(Counter(node.path[0] for node in survivors))


def test_dvts_keeps_the_best_of_every_subtree() -> None:
    decide = first_round(algorithm="dvts", n=8, branch=4).decide
    kept = decide(scored(0.9, 0.8, 0.7, 0.95, 0.1, 0.2, 0.3, 0.2))
    assert [node.path for node in kept] == [(3,), (6,)]


def test_dynamic_branching_shares_by_score_and_keeps_all() -> None:
    decide = first_round(algorithm="dynamic_branching", n=8, branch=4).decide
    assert widths(decide(scored(0.9, 0.1, 0.3, 0.2, 0, 0, 0, 0))) == {0: 6, 2: 2}


def test_rebase_gives_the_best_most_and_the_hopeless_nothing() -> None:
    decide = first_round(algorithm="rebase", n=8, balance_temperature=0.2).decide
    # softmax: 43 %, 43 %, 10 % and 1 % five times
    found = widths(decide(scored(0.9, 0.9, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1)))
    assert found == {0: 4, 1: 3, 2: 1}


def test_a_particle_is_resampled_by_the_odds_of_its_score() -> None:
    decide = first_round(algorithm="particle_filter", n=4).decide
    assert widths(decide(scored(0.99, 0.01, 0.01, 0.01))) == {0: 4}
    assert sum(widths(decide(scored(0.5, 0.5, 0.5, 0.5))).values()) == 4


def test_mcts_goes_where_values_are_high_and_looks_elsewhere_too() -> None:
    for exploration, expected in ((0.0, {(0,), (1,)}), (100.0, None)):
        search = make(
            SearchParams(algorithm="mcts", n=8, branch=4, exploration=exploration, max_steps=9)
        )
        state = start(search)
        assert isinstance(state, Round)
        state = resume(search, scored(0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1))
        assert isinstance(state, Round)
        chosen = {expand.node.path for expand in state.expansions}
        assert len(chosen) == 2
        if expected:
            assert chosen == expected
        seen = set()
        while isinstance(state, Round) and len(seen) < 8:
            seen |= {expand.node.path[:1] for expand in state.expansions}
            children = [
                Node((*e.node.path, i), (*e.node.scores, e.node.scores[-1]), 2)
                for e in state.expansions
                for i in range(e.num_children)
            ]
            state = resume(search, children)
        assert (len(seen) > 4) == (exploration > 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 60), st.floats(0, 0.999))
def test_allotments_add_up(weights: list[float], total: int, draw: float) -> None:
    for counts in (
        proportional(weights, total),
        systematic([w + 1e-3 for w in weights], total, draw),
    ):
        assert sum(counts) == total
        assert min(counts) >= 0


def test_the_first_round_draws_n_steps_from_the_prompt() -> None:
    state = start(make(SearchParams(n=8, branch=4)))
    assert isinstance(state, Round)
    assert state.expansions == (Expand(Node(), 8, 1),)


def test_beam_search_step_by_step() -> None:
    """n=4, branch 2: keep the best 2 of 4, extend both twice."""
    search = make(SearchParams(n=4, branch=2, aggregation="last"))
    first = start(search)
    assert isinstance(first, Round)
    survivors = first.decide(
        [Node((i,), (score,), 1) for i, score in enumerate((0.1, 0.9, 0.5, 0.9))]
    )
    assert [node.path for node in survivors] == [(1,), (3,)]
    second = resume(search, survivors)
    assert isinstance(second, Round)
    assert [(e.node.path, e.num_children) for e in second.expansions] == [((1,), 2), ((3,), 2)]


@given(trees, searches)
def test_best_of_n_returns_all_answers_ranked(tree: Tree, params: SearchParams) -> None:
    found = drive(make(params.replace(algorithm="best_of_n")), tree)
    children = tree([Expand(Node(), params.n, None)])
    answers = [node for node in children if node.finish is Finish.EOS] or children
    aggregate = AGGREGATIONS[params.aggregation]
    assert found == sorted(answers, key=lambda node: (-aggregate(node.scores), node.path))


@given(st.lists(st.tuples(scores, finishes), max_size=12), st.integers(1, 6), st.randoms())
def test_survivors_do_not_depend_on_arrival(
    drawn: list[tuple[tuple[float, ...], Finish]], count: int, rng: random.Random
) -> None:
    children = [Node((i,), s, 1, finish) for i, (s, finish) in enumerate(drawn)]
    shuffled = rng.sample(children, len(children))
    decide = keep_best(count, AGGREGATIONS["min"])
    assert {n.path for n in decide(children)} == {n.path for n in decide(shuffled)}


@pytest.mark.parametrize(
    ("name", "expected"), [("last", 0.2), ("min", 0.2), ("prod", 0.04), ("mean", 0.4)]
)
def test_aggregations(name: str, expected: float) -> None:
    assert AGGREGATIONS[name]((0.5, 0.4, 0.2 if name != "mean" else 0.3)) == pytest.approx(expected)
    assert AGGREGATIONS[name](()) == 1.0


class Recorder:
    """Search parameters that note which of them are read."""

    def __init__(self, params: SearchParams) -> None:
        self._params = params
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self._params, name)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_parameters_listed_for_an_algorithm_are_those_it_reads(name: str) -> None:
    recorder: Any = Recorder(SearchParams(algorithm=name))
    BUILT_IN[name](recorder)
    special = {"branch", "max_steps", "verify_every", "balance_temperature", "exploration"}
    assert recorder.read & special == special & set(parameters_of(name))
    assert {"n", "temperature", "seed"} <= set(parameters_of(name))
