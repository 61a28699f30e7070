"""Speculation on real SGLang: it changes when tokens are decoded, never which."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from fasttts_sglang import FastTTSEngine, SearchResult
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.algorithms import BUILT_IN
from fasttts_sglang.search.params import SPECULATION

from .modes import WIDE, results, summary, tree
from .scripts import run_script

PROBLEMS = tiny_task.problems(91, 4, "heldout")


def test_all_modes_give_the_same_result(engine: FastTTSEngine) -> None:
    found = summary(results(engine, PROBLEMS))
    assert set(found["equal"].values()) == {len(PROBLEMS)}, found
    assert found["kept"]["off"] == found["wasted"]["off"] == 0
    assert found["kept"]["full"] > 100, found


@pytest.mark.parametrize(
    ("algorithm", "verify_every"), [*((name, 1) for name in sorted(BUILT_IN)), ("beam", 2)]
)
def test_every_algorithm_gives_the_same_result_with_and_without(
    engine: FastTTSEngine, algorithm: str, verify_every: int
) -> None:
    params = replace(WIDE, n=8, algorithm=algorithm, verify_every=verify_every)
    plain, full = (
        engine.search(PROBLEMS[2:], replace(params, speculation=mode)) for mode in ("off", "full")
    )
    assert [tree(result) for result in plain] == [tree(result) for result in full]
    for result in plain:
        assert result.candidates
        assert all(len(c.path) <= len(c.steps) for c in result.candidates)


def test_counts_add_up(engine: FastTTSEngine) -> None:
    plain, full = (
        engine.search(PROBLEMS[0], replace(WIDE, speculation=mode)) for mode in ("off", "full")
    )
    assert plain.usage.completion_tokens == full.usage.completion_tokens
    assert plain.usage.rounds == full.usage.rounds
    assert full.usage.speculated_kept <= full.usage.completion_tokens
    assert sum(full.usage.speculated_hits) <= full.usage.children


def test_speculation_gives_way_to_memory(engine: FastTTSEngine) -> None:
    """More beams than rows: requested rows queue, nothing is decoded ahead of them."""
    wide = replace(WIDE, n=128, speculation="full")
    expected = engine.search(PROBLEMS[1], replace(wide, speculation="off"))
    assert tree(engine.search(PROBLEMS[1], wide)) == tree(expected)


def test_nothing_is_decoded_ahead_beside_an_ordinary_request(engine: FastTTSEngine) -> None:
    """Rows ahead of need once cost 32 requests beside a search 20 % of their throughput."""
    expected = tree(engine.search(PROBLEMS[3], WIDE))
    sampling = {"max_new_tokens": 1500, "ignore_eos": True}

    async def beside() -> tuple[bool, SearchResult]:
        request = asyncio.ensure_future(
            engine._engine.async_generate("1+1", sampling_params=sampling)
        )
        await asyncio.sleep(0.5)
        found = await engine.async_search(PROBLEMS[3], replace(WIDE, speculation="full"))
        covered = not request.done()
        await request
        return covered, found

    covered, found = engine.wait(beside())
    assert covered, "the request ended before the search: make it longer"
    assert found.usage.speculated_kept + found.usage.speculated_wasted == 0
    assert tree(found) == expected


@pytest.mark.parametrize("total", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_searches_and_cancellations_leave_nothing_behind(
    engine: FastTTSEngine, total: int
) -> None:
    """Searches of every kind come and go at random; SGLang's idle leak check has the last word."""
    rng = random.Random(5)
    expected = tree(engine.search(PROBLEMS[2], WIDE))
    counts = Counter[str]()

    async def one() -> None:
        branch = rng.choice([1, 2, 4])
        params = replace(
            WIDE,
            algorithm=rng.choice(["beam", "beam", "best_of_n"]),
            n=branch * rng.choice([1, 2, 4, 8]),
            branch=branch,
            max_tokens=rng.choice([20, 150, 700]),
            max_steps=rng.choice([2, 16]),
            seed=rng.randrange(1000),
            speculation=rng.choice(SPECULATION),
        )
        task = asyncio.ensure_future(engine.async_search(rng.choice(PROBLEMS), params))
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.6)
            task.cancel()
        try:
            await task
            counts["done"] += 1
        except asyncio.CancelledError:
            counts["cancelled"] += 1

    async def everything() -> None:
        gate = asyncio.Semaphore(5)

        async def gated() -> None:
            async with gate:
                await one()

        await asyncio.gather(*(gated() for _ in range(total)))
        await asyncio.sleep(1.5)  # idle: the leak check runs

    engine.wait(everything())
    print(dict(counts))
    assert min(counts["done"], counts["cancelled"]) > 5
    assert tree(engine.search(PROBLEMS[2], WIDE)) == expected
    assert engine._client.status()["searches"] == 0


GPU_ARGS = {
    "attention_backend": "triton",
    "disable_prefill_cuda_graph": True,
    "cuda_graph_max_bs_decode": 128,
    "max_total_tokens": 60_000,
    "mem_fraction_static": 0.9,
}
DETERMINISTIC = {**GPU_ARGS, "enable_deterministic_inference": True}


@pytest.mark.gpu
def test_all_modes_give_the_same_result_on_a_gpu() -> None:
    found, _ = run_script("modes", DETERMINISTIC, 30)
    assert set(found["equal"].values()) == {30}, found


@pytest.mark.gpu
def test_bursts_give_the_same_result_as_single_steps_on_a_gpu() -> None:
    """Behind the first step of a burst, CUDA graphs bring the batch forward."""
    args = {**DETERMINISTIC, "log_level": "info"}
    (bursts, log), (single, _) = (run_script("bursts", args, 8, steps) for steps in (4, 1))
    assert "FastTTS bursts: captured" in log, log[-3000:]
    assert bursts == single


@pytest.mark.gpu
def test_bursts_draw_the_same_tokens_within_a_graph_and_without_on_a_gpu() -> None:
    """If SGLang is to look at the logits, they are drawn from outside of graphs."""
    args = {**GPU_ARGS, "log_level": "info"}
    inside, log = run_script("bursts", args, 8, 4)
    outside, _ = run_script("bursts", args, 8, 4, SGLANG_SANITIZE_NAN_LOGITS="1")
    assert "FastTTS bursts: captured" in log, log[-3000:]
    assert inside == outside
