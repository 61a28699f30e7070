"""Copying evicted KV against computing it again, by arithmetic."""

from dataclasses import replace

import pytest

from fasttts_sglang.memory.machines import MACHINES, Machine
from fasttts_sglang.memory.offload import (
    HostOffload,
    compute_seconds,
    copy_seconds,
    predict_offload,
)
from fasttts_sglang.memory.planner import choose_split
from fasttts_sglang.memory.shapes import ModelShape
from fasttts_sglang.memory.workload import Workload

SHAPES = ModelShape.named("qwen2.5-7b"), ModelShape.named("qwen2.5-1.5b", verifier=True)


def predict(machine: Machine, gib: float, n: int = 256) -> HostOffload:
    plan = choose_split(*SHAPES, machine, Workload(n=n), int(gib * 2**30))
    return predict_offload(plan, *SHAPES)


@pytest.mark.parametrize("name", sorted(set(MACHINES) - {"cpu"}))
def test_a_link_of_any_gpu_beats_its_arithmetic(name: str) -> None:
    found = predict(MACHINES[name], 2)
    for part in (found.generator, found.verifier):
        assert part.wins and 0 < part.copy_s < part.again_s
    assert found.saved_s > 0


def test_a_slow_link_does_not() -> None:
    found = predict(replace(MACHINES["rtx-4090"], host_bandwidth=1e8), 2)
    assert not found.generator.wins and not found.verifier.wins
    assert found.saved_s == 0


def test_each_model_is_judged_by_itself() -> None:
    machine = MACHINES["rtx-4090"]
    per_byte = [compute_seconds(shape, machine, 600) / shape.kv_bytes for shape in SHAPES]
    assert per_byte[0] > per_byte[1]
    between = replace(machine, host_bandwidth=4 / sum(per_byte))  # there and back
    found = predict(between, 2)
    assert found.generator.wins and not found.verifier.wins
    assert found.saved_s == pytest.approx(found.generator.again_s - found.generator.copy_s)


def test_where_all_fits_nothing_is_gained() -> None:
    found = predict(MACHINES["rtx-4090"], 30)
    assert found.saved_s == 0
    assert [part.host_bytes for part in (found.generator, found.verifier)] == [0, 0]


def test_seconds_of_a_token() -> None:
    shape = replace(SHAPES[0], kv_bytes=1000, flops=2e9, attention_flops=1e6, read_bytes=1)
    machine = Machine("x", bandwidth=1e12, rate=1e12, prefill_s=8.192, host_bandwidth=1e6)
    assert copy_seconds(shape, machine) == pytest.approx(1e-3)
    assert compute_seconds(shape, machine, 200) == pytest.approx(1e-3 + 2.1e-3 / 0.57)
