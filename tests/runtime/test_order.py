"""Memory in which the live tree does not fit: neither the prefix order nor how evicted tokens are
computed again changes a result."""

import json
import re
from typing import Any

import pytest

from .side_by_side import side_by_side
from .tight import TOKENS

Usage = dict[str, Any]
WAYS = ("on", "off", "decoded", "ahead")


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    done = side_by_side("tight", {way: (way,) for way in WAYS})
    for way in WAYS:  # each came to its end, so nothing leaked
        assert "TIGHT null" in done[way].stdout, done[way].stderr[-3000:]
    return {way: done[way].stdout for way in WAYS}


@pytest.fixture(scope="module")
def runs(printed: dict[str, str]) -> dict[str, list[Usage]]:
    """What each search printed, by way."""
    return {
        way: [
            json.loads(line.removeprefix("TIGHT "))
            for line in text.splitlines()
            if line.startswith("TIGHT {")
        ]
        for way, text in printed.items()
    }


def test_no_result_depends_on_the_order(runs: dict[str, list[Usage]]) -> None:
    for with_order, without in zip(runs["on"], runs["off"], strict=True):
        assert with_order["found"] == without["found"]
        assert with_order["completion_tokens"] == without["completion_tokens"]
        assert with_order["ordinary"] == without["ordinary"]


def test_less_is_computed_again(runs: dict[str, list[Usage]]) -> None:
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


def test_rows_that_waited_for_room_join_without_a_prefill(runs: dict[str, list[Usage]]) -> None:
    # SGLang prefilled each on its own, mostly for a single token: 144, 894 and 165 of them
    for with_order, without in zip(runs["on"], runs["off"], strict=True):
        assert without["prefilled_rows"] > 0
        assert 2 * with_order["prefilled_rows"] < without["prefilled_rows"]


def test_what_was_evicted_is_prefilled_to_be_decoded_ahead(runs: dict[str, list[Usage]]) -> None:
    # else such nodes stay where they are until they are asked for: 892 steps, 33 rows prefilled
    (usage,) = runs["ahead"]
    assert usage["prefilled_rows"] > 40
    assert usage["decode_steps"] < 850
    # while eviction took what had no chance for alive: 1,226, and 90 rows prefilled
    assert usage["recomputed_tokens"] < 1000


def test_what_was_evicted_can_be_decoded_again(
    printed: dict[str, str], runs: dict[str, list[Usage]]
) -> None:
    # deterministic mode on a GPU: prefilled, 16 of 72 candidates came out otherwise
    for decoded, prefilled in zip(runs["decoded"], runs["on"], strict=True):
        assert decoded["found"] == prefilled["found"]
        assert decoded["ordinary"] == prefilled["ordinary"]
    again = re.findall(r"^DECODED (\d+) (\d+)$", printed["decoded"], re.MULTILINE)
    tokens, rows = (sum(map(int, column)) for column in zip(*again, strict=True))
    recomputed = sum(usage["recomputed_tokens"] for usage in runs["decoded"])
    whole = sum(usage["prefilled_rows"] for usage in runs["decoded"])
    assert tokens == recomputed + whole + len(runs["decoded"])  # and each prompt's last token
    assert whole < rows < tokens / 2


def both(usage: dict[str, Any]) -> int:
    """Tokens that the two models have computed again."""
    return int(usage["recomputed_tokens"] + usage["verifier_recomputed_tokens"])


def test_the_high_water_marks_are_within_the_memory(runs: dict[str, list[Usage]]) -> None:
    for usage in (*runs["on"], *runs["off"]):
        for name in ("kv_high_water_tokens", "verifier_kv_high_water_tokens"):
            assert TOKENS / 10 < usage[name] <= TOKENS
