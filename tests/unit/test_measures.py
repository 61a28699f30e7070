"""Measures of a search, against numbers worked out by hand."""

from typing import Any

import pytest

from benchmarks.measures import Measures, goodput, limit_s, spread, table, useful_tokens


def test_goodput_is_mean_tokens_over_mean_completion_time() -> None:
    assert goodput([100, 300], [1.0, 3.0]) == 100
    assert goodput([], []) is None


def test_shared_steps_are_useful_once() -> None:
    paths = [((0, 0), [5, 7]), ((0, 3), [5, 2]), ((1,), [4])]
    assert useful_tokens(paths) == 5 + 7 + 2 + 4


def test_the_limit_is_the_longer_of_chain_and_work() -> None:
    assert limit_s(100, 0.01, 1000, 10_000) == pytest.approx(1.0)
    assert limit_s(100, 0.01, 50_000, 10_000) == pytest.approx(5.0)


def test_spread_shows_median_and_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"


def test_the_table_leaves_empty_what_a_system_does_not_tell() -> None:
    def measured(system: str, **more: Any) -> Measures:
        return Measures(system, 8, 1, 2.0, 1, 1, 9, 2, 0.5, 1.0, 1.0, 9, 0, 1.0, 1.0, 1.0, **more)

    stock = measured("stock", recomputed_tokens=5, verifier_recomputed_tokens=7, retractions=0)
    ours = measured(
        "fasttts", decode_steps=10, scheduling_s=1e-3, speculated_kept=3, speculated_wasted=1
    )
    lines = table([stock, ours]).splitlines()
    assert lines[2].endswith("| 12 |  |")
    assert lines[3].endswith("|  | 100 |")
    for row in (stock, ours):
        raw = row.to_dict()
        assert {name for name, value in raw.items() if value is None} == set(raw["reasons"])
