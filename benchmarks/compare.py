"""Runs replayed searches on the systems of a slice, in turn, and measures all alike."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fasttts_sglang import SearchParams, SearchResult
from fasttts_sglang.search.replay import Replay, ReplaySpec

from .baselines.stock import Outcome
from .machine import Machine, step_s, verifier_rate
from .measures import Measures, goodput, useful_tokens
from .plan import Column
from .setting import BRANCH, Setting
from .systems import Ours, Stock
from .workload import work

_WARM_UP = 1000  # added to a seed
_WARM_UP_ROUNDS = 2


def measure_machine(
    setting: Setting, stock: Stock | None, ours: Ours | None, widths: Sequence[int]
) -> Machine:
    """Decode steps at every width and at the peak batch, and the verifier's rate."""
    systems = [system for system in (stock, ours) if system is not None]
    rows = sorted({*widths, setting.peak_rows})
    steps = {
        n: min(step_s(system.generate, n, setting.prompt_tokens) for system in systems)
        for n in rows
    }
    rate = None
    if stock is not None:
        rate = verifier_rate(stock.pair.score, stock.pair.flush_cache)
    return Machine(steps, rate)


def compare(
    setting: Setting,
    columns: Sequence[Column],
    stock: Stock | None,
    ours: Ours | None,
    machine: Machine,
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    done: Collection[tuple[str, int, int]] = (),
    deadline: float = math.inf,
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Measures]:
    """Measure every width and seed on every column, alternating; check that they agree.

    Args:
        stock, ours: The systems that the columns need, booted with `setting`.
        done: Columns, n and seeds that are measured already.
        deadline: `time.monotonic()` after which no further search starts.
        turn: Held while the systems of this process search.

    Raises:
        AssertionError: A system returned other candidates than the algorithm alone on the same
            replay, so the comparison is void.
    """
    spec = ReplaySpec.from_json(setting.spec)
    for n in widths:
        left = {
            seed: todo
            for seed in seeds
            if (todo := [c for c in columns if (c.name, n, seed) not in done])
        }
        if not left:
            continue
        params = SearchParams(n=n, branch=BRANCH, temperature=1.0, stop=())
        with turn():
            first = min(left) + _WARM_UP
            short = params.replace(seed=first, max_steps=_WARM_UP_ROUNDS)
            for column in columns:
                _search(column, stock, ours, _prompt(setting, first, n, column), short)
        for order, (seed, todo) in enumerate(left.items()):
            if time.monotonic() > deadline:
                return
            params = params.replace(seed=seed)
            needed = work(spec, params, setting.prompt_tokens)
            rows = []
            with turn():
                for column in todo[:: 1 if order % 2 else -1]:
                    prompt = _prompt(setting, seed, n, column)
                    found, seconds = _search(column, stock, ours, prompt, params)
                    assert tuple(c.path for c in found.candidates) == needed.candidates, (
                        f"{column.name} returned other candidates at n={n}, seed {seed}"
                    )
                    limits = machine.limits(n, needed)
                    if isinstance(found, Outcome):
                        replay = Replay(spec, seed)
                        row = of_stock(found, seconds, n, seed, replay, limits, column.name)
                    else:
                        row = of_ours(found, seconds, n, seed, limits, column.name)
                    rows.append(row)
            rows.sort(key=lambda row: [c.name for c in columns].index(row.system))
            yield from rows


def _prompt(setting: Setting, seed: int, n: int, column: Column) -> list[int]:
    """Of each search another: the same tokens would find their scores in our score cache."""
    name = sum(column.name.encode())
    numbers = [seed, n, n // 90, name, name // 90]
    numbers += [i * i for i in range(setting.prompt_tokens)]
    return [5 + number % 90 for number in numbers][: setting.prompt_tokens]


def _search(
    column: Column, stock: Stock | None, ours: Ours | None, prompt: list[int], params: SearchParams
) -> tuple[Outcome | SearchResult, float]:
    """One search with cold caches, and the seconds its caller waited."""
    if column.params is None:
        assert stock is not None
        stock.pair.flush_cache()
        return stock.search(prompt, params)
    assert ours is not None
    ours.engine.flush_cache()
    return ours.search(prompt, params.replace(**column.params))


def _rates(
    seconds: float, completion_tokens: int, slot_tokens: int, limits: dict[str, float]
) -> dict[str, Any]:
    """The measures that follow from a search's counts."""
    return {
        "latency_s": seconds,
        "slot_use": completion_tokens / slot_tokens,
        "x_of_limit": seconds / limits["limit_s"],
        **limits,
    }


def of_stock(
    outcome: Outcome,
    seconds: float,
    n: int,
    seed: int,
    replay: Replay,
    limits: dict[str, float],
    system: str,
) -> Measures:
    """What the baseline's client loop tells."""
    paths = [
        (node.path, [replay.step_tokens(node.path[: i + 1]) for i in range(len(node.path))])
        for node in outcome.candidates
    ]
    tokens = [node.num_tokens for node in outcome.candidates]
    times = outcome.complete_s
    complete_s = [times[node.path] for node in outcome.candidates if node.path in times]
    return Measures(
        system=system,
        n=n,
        seed=seed,
        generator_s=outcome.generator_s,
        verifier_s=outcome.verifier_s,
        completion_tokens=outcome.completion_tokens,
        rounds=outcome.rounds,
        goodput=goodput(tokens, complete_s),
        useful_tokens_per_s=useful_tokens(paths) / seconds,
        verifier_tokens=outcome.verifier_tokens,
        verifier_cached_tokens=outcome.verifier_cached_tokens,
        recomputed_tokens=outcome.recomputed_tokens,
        verifier_recomputed_tokens=outcome.verifier_recomputed_tokens,
        retractions=outcome.retractions,
        **_rates(seconds, outcome.completion_tokens, outcome.slot_tokens, limits),
    )


def of_ours(
    result: SearchResult,
    seconds: float,
    n: int,
    seed: int,
    limits: dict[str, float],
    system: str,
) -> Measures:
    """What our result tells."""
    usage, verifier_s = result.usage, result.timing["verifier_s"]
    paths = [(c.path, [len(s.token_ids) for s in c.steps]) for c in result.candidates]
    tokens = [c.num_tokens for c in result.candidates]
    return Measures(
        system=system,
        n=n,
        seed=seed,
        generator_s=result.timing["total_s"] - verifier_s,
        verifier_s=verifier_s,
        completion_tokens=usage.completion_tokens,
        rounds=usage.rounds,
        goodput=goodput(tokens, [c.complete_s for c in result.candidates if c.complete_s]),
        useful_tokens_per_s=useful_tokens(paths) / seconds,
        verifier_tokens=usage.verifier_tokens,
        verifier_cached_tokens=usage.verifier_cached_tokens,
        speculated_kept=usage.speculated_kept,
        speculated_wasted=usage.speculated_wasted,
        kv_high_water=usage.kv_high_water_tokens,
        recomputed_tokens=usage.recomputed_tokens,
        verifier_recomputed_tokens=usage.verifier_recomputed_tokens,
        decode_steps=int(result.timing["decode_steps"]),
        scheduling_s=result.timing["scheduling_s"],
        **_rates(seconds, usage.completion_tokens, usage.slot_tokens, limits),
    )
