"""Speculation on real SGLang: it changes when tokens are decoded, never which."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from fasttts_sglang import FastTTSEngine
from fasttts_sglang.models import tiny_task

from .modes import WIDE, results, summary, tree

PROBLEMS = tiny_task.problems(91, 4, "heldout")


def test_all_modes_give_the_same_result(engine: FastTTSEngine) -> None:
    found = summary(results(engine, PROBLEMS))
    assert set(found["equal"].values()) == {len(PROBLEMS)}, found
    assert found["kept"]["off"] == found["wasted"]["off"] == 0
    assert found["kept"]["full"] > 100, found


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


@pytest.mark.gpu
def test_all_modes_give_the_same_result_on_a_gpu() -> None:
    args = {
        "attention_backend": "triton",
        "disable_prefill_cuda_graph": True,
        "cuda_graph_max_bs_decode": 128,
        "max_total_tokens": 60_000,
        "mem_fraction_static": 0.9,
        "enable_deterministic_inference": True,
    }
    command = [sys.executable, "-m", "tests.runtime.modes", json.dumps(args), "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    marked = [line for line in done.stdout.splitlines() if line.startswith("MODES ")]
    assert marked, done.stderr[-3000:]
    print(marked[0])
    found = json.loads(marked[0].removeprefix("MODES "))
    assert set(found["equal"].values()) == {30}, found
