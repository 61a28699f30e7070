"""Ordinary requests on a server with our plugin give the tokens that stock SGLang gives."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .ordinary import REQUESTS
from .scripts import run_script

GREEDY = [i for i, r in enumerate(REQUESTS) if r["sampling_params"]["temperature"] == 0]
"""What stock SGLang reproduces from one start to the next. Sampled rows share one stream of random
numbers: which row gets which depends on when it arrives, and two stock engines were seen to differ.
That batches without a search keep SGLang's own sampler is tested in test_seeded_sampling.py."""


def run(kind: str, engine_args: dict[str, Any]) -> dict[str, Any]:
    return run_script("ordinary", kind, engine_args)[0]


def compare(stock: dict[str, Any], ours: dict[str, Any], numbers: list[int]) -> None:
    for number in numbers:
        assert ours["rounds"][number] == stock["rounds"][number], REQUESTS[number]
    tokens = sum(len(output[0]) for n in numbers for output in stock["rounds"][n])
    print(f"{len(numbers)} kinds of requests, {tokens} tokens: identical")


def test_same_tokens_with_and_without_the_plugin() -> None:
    stock, ours = run("stock", {}), run("plugin", {})
    compare(stock, ours, GREEDY)
    assert ours["beside"] == stock["beside"], "a search beside them changed ordinary requests"


GPU_ARGS = {
    "attention_backend": "triton",
    "disable_prefill_cuda_graph": True,
    "cuda_graph_max_bs_decode": 16,
    "mem_fraction_static": 0.9,
}


def run_both(engine_args: dict[str, Any]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, ["stock", "plugin"], [engine_args] * 2))


@pytest.mark.gpu
def test_same_tokens_on_a_gpu_by_default() -> None:
    stock, ours = run_both(GPU_ARGS)
    compare(stock, ours, GREEDY)


@pytest.mark.gpu
def test_same_tokens_on_a_gpu_in_deterministic_mode() -> None:
    stock, ours = run_both({**GPU_ARGS, "enable_deterministic_inference": True})
    compare(stock, ours, list(range(len(REQUESTS))))
    assert ours["beside"] == stock["beside"], "a search beside them changed ordinary requests"
