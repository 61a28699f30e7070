"""Runs replayed searches on stock SGLang and on ours, in turn, and measures both alike."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams, SearchResult
from fasttts_sglang.engine import TINY
from fasttts_sglang.search.replay import Replay, ReplaySpec

from . import shapes
from .baselines.reward_model import convert
from .baselines.stock import Outcome, ReplayedSteps, StockPair
from .budget import split
from .measures import Measures, goodput, limit_s, useful_tokens

BRANCH = 4
_WARM_UP = 1000  # added to a seed: equal searches would find their scores in the score cache


@dataclass(frozen=True, slots=True)
class Setting:
    """One comparison: models, workload and engine arguments."""

    generator: str  # a shape, or "tiny" for the bundled pair
    verifier: str
    spec: str  # a ReplaySpec as JSON
    prompt_tokens: int
    stock_args: dict[str, Any] = field(default_factory=dict)
    our_args: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)  # FastTTSConfig fields

    def with_budget(self, kv_gib: float, stock_share: float, our_share: float) -> "Setting":
        """The same with one KV budget for both models of each system.

        Args:
            kv_gib: GiB of KV cache, both models together.
            stock_share, our_share: The verifier's part of it.
        """
        generator, verifier = split(self.generator, self.verifier, kv_gib, stock_share)
        stock_args = {
            **self.stock_args,
            "generator_args": {"max_total_tokens": generator},
            "verifier_args": {"max_total_tokens": verifier},
        }
        generator, verifier = split(self.generator, self.verifier, kv_gib, our_share)
        return replace(
            self,
            stock_args=stock_args,
            our_args={**self.our_args, "max_total_tokens": generator},
            config={**self.config, "verifier_tokens": verifier},
        )


class Stock:
    """The baseline."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self._spec = ReplaySpec.from_json(setting.spec)
        if setting.generator == "tiny":
            verifier = convert(TINY / "verifier", folder / "tiny-reward-model")
            self.pair = StockPair(str(TINY / "generator"), verifier, **setting.stock_args)
        else:
            generator = shapes.write(folder, setting.generator, shapes.GENERATOR)
            verifier = shapes.write(folder, setting.verifier, shapes.STOCK_VERIFIER)
            self.pair = StockPair(generator, verifier, load_format="dummy", **setting.stock_args)

    def search(self, prompt: list[int], params: SearchParams) -> tuple[Outcome, float]:
        """One search and the seconds its caller waited."""
        steps = ReplayedSteps(Replay(self._spec, params.seed))
        began = time.perf_counter()
        return self.pair.search(prompt, params, steps), time.perf_counter() - began


class Ours:
    """The candidate."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        config = FastTTSConfig(replay=setting.spec, **setting.config)
        if setting.generator == "tiny":
            self.engine = FastTTSEngine(config=config, **setting.our_args)
        else:
            generator = shapes.write(folder, setting.generator, shapes.GENERATOR)
            verifier = shapes.write(folder, setting.verifier, shapes.VERIFIER)
            args = {"load_format": "dummy", "skip_tokenizer_init": True, **setting.our_args}
            self.engine = FastTTSEngine(generator, verifier, config=config, **args)

    def search(
        self, prompt: list[int], params: SearchParams, mode: str
    ) -> tuple[SearchResult, float]:
        """One search and the seconds its caller waited; `mode` is that of speculation."""
        params = params.replace(speculation=mode)
        began = time.perf_counter()
        result = self.engine.wait(self.engine.async_search(prompt, params))
        return result, time.perf_counter() - began

    def timelines(
        self, n: int, prompt_tokens: int, modes: Sequence[str]
    ) -> list[tuple[str, SearchResult]]:
        """One search with its timeline per kind of speculation."""
        prompt = [5 + i % 90 for i in range(prompt_tokens)]
        params = SearchParams(n=n, branch=BRANCH, temperature=1.0, stop=(), timeline=True)
        found = []
        for mode in modes:
            self.engine.flush_cache()
            found.append((f"n={n}, speculation {mode}", self.search(prompt, params, mode)[0]))
        return found

    def step_s(self, rows: int, prompt: int) -> float:
        """Seconds of one decode step with `rows` rows."""

        def run(tokens: int) -> float:
            prompts = [[5 + (7 * i + j) % 90 for j in range(prompt)] for i in range(rows)]
            params = {"max_new_tokens": tokens, "ignore_eos": True, "temperature": 1.0}
            began = time.perf_counter()
            self.engine.generate(input_ids=prompts, sampling_params=params)
            return time.perf_counter() - began

        run(4)
        return min((run(64) - run(16)) / 48 for _ in range(3))  # a bound, so the best counts


def compare(
    setting: Setting,
    stock: Stock,
    ours: Ours,
    widths: Sequence[int],
    seeds: Sequence[int],
    *,
    modes: Sequence[str] = ("full",),
    done: Collection[tuple[int, int]] = (),
    deadline: float = math.inf,
) -> Iterator[Measures]:
    """Measure every width and seed on both systems, alternating; check that they agree.

    Args:
        stock, ours: The two systems, booted with `setting`.
        modes: Kinds of speculation that ours is measured with, one after the other.
        done: Pairs of n and seed that are measured already.
        deadline: `time.monotonic()` after which no further search starts.

    Raises:
        AssertionError: The two systems returned different candidates, so the comparison is void.
    """
    steps = {n: ours.step_s(n, setting.prompt_tokens) for n in widths}
    spec = ReplaySpec.from_json(setting.spec)
    peak = max(n / step for n, step in steps.items())
    for n in widths:
        machine = Machine(steps[n], peak)
        left = [seed for seed in seeds if (n, seed) not in done]
        for order, seed in enumerate([*(seed + _WARM_UP for seed in left[:1]), *left]):
            if time.monotonic() > deadline:
                return
            prompt = [5 + (seed * 31 + i) % 90 for i in range(setting.prompt_tokens)]
            params = SearchParams(n=n, branch=BRANCH, seed=seed, temperature=1.0, stop=())
            runs = ["stock", *modes] if order % 2 else [*modes, "stock"]
            rows: list[Measures] = []
            paths = set()
            for run in runs:
                if run == "stock":
                    stock.pair.flush_cache()
                    outcome, seconds = stock.search(prompt, params)
                    rows.append(of_stock(outcome, seconds, n, seed, spec, machine))
                    paths.add(tuple(node.path for node in outcome.candidates))
                else:
                    ours.engine.flush_cache()
                    result, seconds = ours.search(prompt, params, run)
                    rows.append(of_ours(result, seconds, n, seed, machine, run))
                    paths.add(tuple(c.path for c in result.candidates))
            assert len(paths) == 1, (n, seed)
            rows.sort(key=lambda row: row.system != "stock")
            if order:  # the first warms both systems up
                yield from rows


@dataclass(frozen=True, slots=True)
class Machine:
    """What the limit of a search is computed from."""

    step_s: float  # of one decode step at this search's batch
    peak: float  # tokens per second, the best that was measured

    def rates(
        self, seconds: float, tokens: Sequence[int], completion_tokens: int, slot_tokens: int
    ) -> dict[str, Any]:
        """The measures that follow from a search's counts; `tokens` are of its candidates."""
        limit = limit_s(max(tokens, default=0), self.step_s, completion_tokens, self.peak)
        return {
            "latency_s": seconds,
            "slot_use": completion_tokens / slot_tokens,
            "limit_s": limit,
            "x_of_limit": seconds / limit,
        }


def of_stock(
    outcome: Outcome, seconds: float, n: int, seed: int, spec: ReplaySpec, machine: Machine
) -> Measures:
    """What the baseline's client loop tells."""
    replay = Replay(spec, seed)
    paths = [
        (node.path, [replay.step_tokens(node.path[: i + 1]) for i in range(len(node.path))])
        for node in outcome.candidates
    ]
    tokens = [node.num_tokens for node in outcome.candidates]
    return Measures(
        system="stock",
        n=n,
        seed=seed,
        generator_s=outcome.generator_s,
        verifier_s=outcome.verifier_s,
        completion_tokens=outcome.completion_tokens,
        rounds=outcome.rounds,
        goodput=goodput(tokens, [outcome.complete_s[node.path] for node in outcome.candidates]),
        useful_tokens_per_s=useful_tokens(paths) / seconds,
        verifier_tokens=None,
        verifier_cached_tokens=None,
        **machine.rates(seconds, tokens, outcome.completion_tokens, outcome.slot_tokens),
    )


def of_ours(
    result: SearchResult, seconds: float, n: int, seed: int, machine: Machine, mode: str
) -> Measures:
    """What our result tells."""
    usage, verifier_s = result.usage, result.timing["verifier_s"]
    paths = [(c.path, [len(s.token_ids) for s in c.steps]) for c in result.candidates]
    tokens = [c.num_tokens for c in result.candidates]
    return Measures(
        system="fasttts" if mode == "full" else f"fasttts, speculation {mode}",
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
        decode_steps=int(result.timing["decode_steps"]),
        scheduling_s=result.timing["scheduling_s"],
        **machine.rates(seconds, tokens, usage.completion_tokens, usage.slot_tokens),
    )
