"""The simulation of searches: what it must agree on with any real run."""

from typing import Any

import pytest

from benchmarks import simulate as simulation
from benchmarks.simulate import Costs, Simulated, simulate
from fasttts_sglang import SearchParams

SPEC = '{"mean_tokens": 30, "min_steps": 4, "max_steps": 6}'


def simulated(
    mode: str, seed: int = 1, burst: int = 4, n: int = 16, costs: Costs | None = None
) -> Simulated:
    params = SearchParams(n=n, branch=4, temperature=1.0, stop=(), speculation=mode, seed=seed)
    return simulate(params, SPEC, 50, burst, costs or Costs())


def test_a_search_takes_no_fewer_steps_than_its_longest_chain_and_speculation_saves_some() -> None:
    for seed in range(1, 6):
        full, off = simulated("full", seed), simulated("off", seed)
        assert full.chain == off.chain
        assert full.chain <= full.steps < off.steps
        assert off.kept == off.wasted == 0 < full.kept


def test_two_runs_take_the_same_decisions() -> None:
    """Rows were a set once, in an order by address; ranks of tensor parallelism must agree."""
    assert simulated("full") == simulated("full")


def test_what_is_asked_for_does_not_wait_for_the_scores_of_what_is_not() -> None:
    """A slow verifier was handed all that was decoded ahead at once, and rounds waited for it: 1.3
    times slower than without speculation, and three times as many tokens scored."""
    slow = Costs(token=0.088)
    for seed in range(1, 4):
        full, off = (simulated(mode, seed, n=64, costs=slow) for mode in ("full", "off"))
        assert full.ms < 0.8 * off.ms
        assert full.verified < 1.3 * off.verified


def test_what_cannot_be_forked_is_not_tried_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """At n=512 in 24 GB a look made 275 rows, and threw away most: their prefix was evicted."""
    looks = set()

    def evicted(_rows: Any, search: Any, _step: Any) -> bool:
        looks.add(search.tree.num_complete)
        return False

    monkeypatch.setattr(simulation._Rows, "reaches", evicted)
    simulated("full", n=128)
    assert 0 < len(looks) < 80  # 106 when every look tried them again
