"""Measures of a search, against numbers worked out by hand."""

import pytest

from benchmarks.measures import goodput, limit_s, spread, useful_tokens


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
