"""The tree that a search returns with its timeline: complete, and in agreement with the counts."""

from dataclasses import replace

import pytest

from fasttts_sglang import FastTTSEngine
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.algorithms import BUILT_IN
from fasttts_sglang.search.params import SPECULATION
from fasttts_sglang.search.result import Fate, SearchResult

from .modes import WIDE, tree

PROBLEM = tiny_task.problems(91, 1, "heldout")[0]


def check(result: SearchResult) -> None:
    nodes = {node.path: node for node in result.nodes}
    assert len(nodes) == len(result.nodes)
    assert list(nodes) == sorted(nodes)
    asked = [node for node in result.nodes if node.round is not None]
    wasted = [node for node in result.nodes if node.round is None]
    assert len(asked) == result.usage.children
    assert sum(node.num_tokens for node in asked) == result.usage.completion_tokens
    in_vain = sum(node.num_tokens for node in wasted)
    if result.params["algorithm"] == "mcts":  # may come back to what it has dropped
        assert in_vain <= result.usage.speculated_wasted
    else:
        assert in_vain == result.usage.speculated_wasted
    assert {node.round for node in asked} == set(range(1, result.usage.rounds + 1))
    assert all((node.fate is Fate.WASTED) == (node.round is None) for node in result.nodes)
    assert all(node.finish is not None and node.score is not None for node in asked)
    for candidate in result.candidates:
        line = [nodes[candidate.path[:depth]] for depth in range(1, len(candidate.path) + 1)]
        assert {node.fate for node in line} == {Fate.KEPT}
        assert tuple(step for node in line for step in node.steps) == candidate.steps
        assert line[-1].finish is candidate.finish
    assert {span.path for span in result.timeline} >= {node.path for node in asked}


@pytest.mark.parametrize("algorithm", sorted(BUILT_IN))
def test_the_tree_agrees_with_the_counts(engine: FastTTSEngine, algorithm: str) -> None:
    params = replace(WIDE, n=8, max_steps=8, algorithm=algorithm, timeline=True)
    if algorithm == "self_consistency":
        params = replace(params, selection="weighted")  # with scores
    check(engine.search(PROBLEM, params))


def test_mcts_comes_back_to_what_was_dropped(engine: FastTTSEngine) -> None:
    """It used to fail: children that were decoded ahead, dropped, and then asked for."""
    params = replace(WIDE, n=32, max_steps=10, algorithm="mcts", timeline=True)
    full, off = (
        engine.search(PROBLEM, replace(params, speculation=mode)) for mode in ("full", "off")
    )
    check(full)
    assert tree(full) == tree(off)


@pytest.mark.parametrize("mode", SPECULATION)
def test_what_was_speculated_is_in_the_tree(engine: FastTTSEngine, mode: str) -> None:
    plain = engine.search(PROBLEM, WIDE)
    result = engine.search(PROBLEM, replace(WIDE, speculation=mode, timeline=True))
    check(result)
    assert tree(result) == tree(plain)
    assert result.problem == PROBLEM
    fates = {node.fate for node in result.nodes}
    assert fates >= {Fate.KEPT, Fate.PRUNED}
    assert (Fate.WASTED in fates) == (result.usage.speculated_wasted > 0)


@pytest.mark.parametrize("limit", [{"token_budget": 400}, {"time_budget_s": 0.4}])
def test_a_search_that_was_stopped_has_a_tree(
    engine: FastTTSEngine, limit: dict[str, float]
) -> None:
    result = engine.search(PROBLEM, replace(WIDE, timeline=True, **limit))
    assert result.stopped == next(iter(limit))
    nodes = {node.path: node for node in result.nodes}
    asked = [node for node in result.nodes if node.round is not None]
    assert sum(node.num_tokens for node in asked) == result.usage.completion_tokens
    assert {span.path for span in result.timeline} >= {node.path for node in asked}
    assert all(nodes[candidate.path].fate is Fate.KEPT for candidate in result.candidates)


def test_steps_are_verified_in_pairs(engine: FastTTSEngine) -> None:
    result = engine.search(PROBLEM, replace(WIDE, verify_every=2, timeline=True))
    check(result)
    assert {len(node.steps) for node in result.nodes} == {1, 2}


def test_nothing_is_kept_unless_asked_for(engine: FastTTSEngine) -> None:
    result = engine.search(PROBLEM, WIDE)
    assert (result.nodes, result.timeline, result.problem) == ((), (), None)
