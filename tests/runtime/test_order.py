"""Memory in which the live tree does not fit: the prefix order changes what it costs, no result."""

import json
from typing import Any

import pytest

from .side_by_side import side_by_side
from .tight import TOKENS

Runs = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def runs() -> Runs:
    found: Runs = {}
    for order, done in side_by_side("tight", {order: (order,) for order in ("on", "off")}).items():
        lines = [line for line in done.stdout.splitlines() if line.startswith("TIGHT ")]
        *found[order], end = [json.loads(line.removeprefix("TIGHT ")) for line in lines]
        assert end is None, done.stderr[-3000:]  # it came to its end, so nothing leaked
    return found


def test_no_result_depends_on_the_order(runs: Runs) -> None:
    for with_order, without in zip(runs["on"], runs["off"], strict=True):
        assert with_order["found"] == without["found"]
        assert with_order["completion_tokens"] == without["completion_tokens"]
        assert with_order["ordinary"] == without["ordinary"]


def test_less_is_computed_again(runs: Runs) -> None:
    print(
        {
            order: [(r["recomputed_tokens"], r["verifier_recomputed_tokens"]) for r in some]
            for order, some in runs.items()
        }
    )
    for with_order, without in zip(runs["on"], runs["off"], strict=True):
        for model in ("", "verifier_"):
            counter = f"{model}recomputed_tokens"
            assert with_order[counter] <= without[counter]
    for with_order, without in zip(runs["on"][:2], runs["off"][:2], strict=True):
        assert without["verifier_recomputed_tokens"] > 0
        assert 5 * both(with_order) < both(without)


def test_rows_that_waited_for_room_join_without_a_prefill(runs: Runs) -> None:
    # SGLang prefilled each on its own, mostly for a single token: 144, 894 and 165 of them
    for with_order, without in zip(runs["on"], runs["off"], strict=True):
        assert without["prefilled_rows"] > 0
        assert 2 * with_order["prefilled_rows"] < without["prefilled_rows"]


def test_what_was_evicted_is_prefilled_to_be_decoded_ahead() -> None:
    # such nodes stayed where they were until they were asked for: 903 steps, 32 rows prefilled
    done = side_by_side("tight", {"ahead": ("ahead",)})["ahead"]
    (usage,) = [
        json.loads(line.removeprefix("TIGHT "))
        for line in done.stdout.splitlines()
        if line.startswith("TIGHT {")
    ]
    assert usage["prefilled_rows"] > 50
    assert usage["decode_steps"] < 850


def both(usage: dict[str, Any]) -> int:
    """Tokens that the two models have computed again."""
    return int(usage["recomputed_tokens"] + usage["verifier_recomputed_tokens"])


def test_the_high_water_marks_are_within_the_memory(runs: Runs) -> None:
    for usage in (*runs["on"], *runs["off"]):
        for name in ("kv_high_water_tokens", "verifier_kv_high_water_tokens"):
            assert TOKENS / 10 < usage[name] <= TOKENS
