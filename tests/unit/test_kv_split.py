"""The split at start: planned, fraction or tokens, on a scheduler that is made up."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang import FastTTSConfig
from fasttts_sglang.errors import InsufficientMemory
from fasttts_sglang.memory.machines import MACHINES
from fasttts_sglang.memory.shapes import SHAPES
from fasttts_sglang.runtime import kv_split as module
from fasttts_sglang.runtime.kv_split import UNPLANNED, default_workload, kv_split

GIB = 1 << 30
SIZES = {"qwen2.5-1.5b": 28_672, "qwen2.5-7b": 57_344}


def runner(shape: dict[str, Any], context: int = 32_768) -> Any:
    heads = shape["num_key_value_heads"]
    model = SimpleNamespace(
        hf_config=SimpleNamespace(to_dict=lambda: shape),
        num_hidden_layers=shape["num_hidden_layers"],
        get_num_kv_heads=lambda tp_size: heads // tp_size,
        head_dim=shape["hidden_size"] // shape["num_attention_heads"],
        context_len=context,
    )
    return SimpleNamespace(
        model_config=model,
        dtype=torch.bfloat16,
        kv_cache_dtype=torch.bfloat16,
        pre_model_load_memory=24.0,
    )


def scheduler(shape: dict[str, Any], max_total_tokens: int | None = None, tp_size: int = 1) -> Any:
    generator = runner(shape)
    return SimpleNamespace(
        model_config=generator.model_config,
        tp_worker=SimpleNamespace(model_runner=generator),
        ps=SimpleNamespace(tp_size=tp_size, gpu_id=0, tp_rank=0, pp_rank=0),
        server_args=SimpleNamespace(
            max_total_tokens=max_total_tokens, mem_fraction_static=0.75, device="cuda"
        ),
    )


def verifier(shape: dict[str, Any]) -> Any:
    made = runner(shape)
    return SimpleNamespace(model_runner=made, model_config=made.model_config)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 GiB before anything was loaded, 8 GiB now, of which 6 are SGLang's reserve."""
    world = SimpleNamespace(world_size=1, cpu_group=None, ranks=[0])
    monkeypatch.setattr(module, "get_world_group", lambda: world)
    monkeypatch.setattr(module, "get_available_gpu_memory", lambda *_, **__: 8.0)
    this_machine = {"this_machine": lambda *_: MACHINES["rtx-4090"]}
    monkeypatch.setattr(module, "calibration", SimpleNamespace(**this_machine))


LARGE, SMALL = SHAPES["qwen2.5-7b"], SHAPES["qwen2.5-1.5b"]


def split(max_total_tokens: int | None = None, **config: Any) -> Any:
    return kv_split(scheduler(LARGE, max_total_tokens), verifier(SMALL), FastTTSConfig(**config))


def test_free_memory_is_planned() -> None:
    found = split()
    assert found.plan.budget_bytes == 2 * GIB
    assert found.plan.workload.n == 64
    assert found.verifier_tokens == found.plan.verifier.kv_tokens
    assert found.plan.verifier_fraction == pytest.approx(1 / 3, rel=0.01)  # there is enough
    wider = split(default_search='{"n": 512, "branch": 8}').plan
    assert (wider.workload.n, wider.workload.branch) == (512, 8)
    assert wider.generator.kv_tokens < wider.generator.needed_tokens


def test_a_fraction_is_taken_as_it_is() -> None:
    found = split(kv_split="0.25")
    assert found.verifier_tokens == GIB // 2 // SIZES["qwen2.5-1.5b"]
    assert found.plan.verifier_fraction == 0.25


def test_tokens_are_taken_as_they_are() -> None:
    assert split(verifier_tokens=816) == module.KVSplit(816)


def test_the_verifier_gets_as_many_tokens_as_a_given_generator() -> None:
    assert split(10_000).verifier_tokens == 10_000
    by_fraction = split(10_000, kv_split="0.5")
    assert by_fraction.verifier_tokens == 10_000 * 57_344 // 28_672
    assert by_fraction.plan.generator.kv_tokens == 10_000
    assert split(10_000_000).plan.budget_bytes == 2 * GIB  # they cannot both have so many


@pytest.mark.parametrize(
    ("flags", "free_mib", "missing_mib"),
    [
        ({}, 16, 51),
        ({"kv_split": "0.5"}, 16, 37),  # what the generator lacks is told first
        ({"kv_split": "0.5"}, 60, 15),
        ({"kv_split": "0.9", "max_total_tokens": 816}, 200, 202 + 45),  # more than there is
        ({"kv_split": "0.1", "max_total_tokens": 800}, 2048, 1),
        ({"verifier_tokens": 16}, 2048, 22),
        ({"verifier_tokens": 816, "max_total_tokens": 800}, 2048, 1),
        ({"verifier_tokens": 816}, 22, 45),
        ({"verifier_tokens": 100_000}, 2048, 731),
    ],
)
def test_too_little_memory_is_refused_with_the_shortfall(
    flags: dict[str, Any], free_mib: int, missing_mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "get_available_gpu_memory", lambda *_, **__: 6 + free_mib / 1024)
    name = "verifier_tokens" if "verifier_tokens" in flags else "kv_split"
    flag = f"--fasttts-{name.replace('_', '-')} {flags.get(name, 'auto')}"
    message = (
        rf"{flag}: .*not even one path of 816 tokens fits .*: {missing_mib} MiB are missing;"
        " raise --mem-fraction-static"
    )
    with pytest.raises(InsufficientMemory, match=message) as refused:
        split(**flags)
    assert missing_mib - 1 < refused.value.missing / (1 << 20) <= missing_mib


@given(
    free_mib=st.floats(0, 400),
    tokens=st.none() | st.integers(1, 3000),
    config=st.one_of(
        st.just({}),
        st.floats(0.01, 0.95).map(lambda part: {"kv_split": f"{part:.3f}"}),
        st.integers(16, 10_000).map(lambda tokens: {"verifier_tokens": tokens}),
    ),
    experts=st.booleans(),
)
def test_what_starts_holds_a_path_of_each_model(
    free_mib: float, tokens: int | None, config: dict[str, Any], experts: bool
) -> None:
    """Whatever is asked for: SGLang gives the generator what is left, up to --max-total-tokens."""
    generator = {**LARGE, "num_experts": 8} if experts else LARGE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "get_available_gpu_memory", lambda *_, **__: 6 + free_mib / 1024)
        try:
            found = kv_split(scheduler(generator, tokens), verifier(SMALL), FastTTSConfig(**config))
        except InsufficientMemory as refused:
            assert refused.missing > 0
            assert f"{-(-refused.missing // (1 << 20))} MiB are missing" in str(refused)
            return
    left = free_mib * (1 << 20) - found.verifier_tokens * 28_672
    assert found.verifier_tokens >= 816
    assert min(left // 57_344, math.inf if tokens is None else tokens) >= 816


@pytest.mark.parametrize(("flags", "fraction"), [({}, UNPLANNED), ({"kv_split": "0.5"}, 0.5)])
def test_a_model_that_cannot_be_planned_for_gets_a_fraction(
    flags: dict[str, str], fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = scheduler({**LARGE, "num_experts": 8})
    found = kv_split(experts, verifier(SMALL), FastTTSConfig(**flags))
    assert found == module.KVSplit(int(2 * GIB * fraction / 28_672))
    monkeypatch.setattr(module, "get_available_gpu_memory", lambda *_, **__: 5.0)
    with pytest.raises(InsufficientMemory, match="not even one path of 816 tokens"):
        kv_split(experts, verifier(SMALL), FastTTSConfig(**flags))


def test_all_ranks_plan_with_what_rank_0_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SimpleNamespace(world_size=2, cpu_group="group", ranks=[0, 1])
    monkeypatch.setattr(module, "get_world_group", lambda: world)
    measured, sent = [], []

    def this_machine(device: str, gpu_id: int) -> Any:
        measured.append(gpu_id)
        return MACHINES["rtx-4090"]

    def broadcast(data: list[Any], rank: int, group: str, src: int) -> list[Any]:
        assert (group, src) == ("group", 0)
        if rank == src:
            sent.append(data)
        return sent[0]

    monkeypatch.setattr(module, "calibration", SimpleNamespace(this_machine=this_machine))
    monkeypatch.setattr(module, "broadcast_pyobj", broadcast)
    plans = []
    for rank in (0, 1):
        shared = scheduler(LARGE, tp_size=2)
        shared.ps.tp_rank = shared.ps.gpu_id = rank
        plans.append(kv_split(shared, verifier(SMALL), FastTTSConfig()))
    assert measured == [0]
    assert plans[0] == plans[1]
    assert plans[0].plan.generator.kv_tokens > 1.9 * split().plan.generator.kv_tokens


@pytest.mark.parametrize("context", [2, 100, 600, 2048, 100_000])
def test_the_workload_fits_into_the_context(context: int) -> None:
    work = default_workload(FastTTSConfig(max_width=4), context)
    assert work.n == 4
    assert work.longest_tokens <= min(context, 816)


def test_a_path_is_no_longer_than_the_default_search_lets_it_be() -> None:
    short = FastTTSConfig(default_search='{"n": 8, "max_tokens": 100}')
    assert (default_workload(short, 32_768).path_tokens, default_workload(short, 50).n) == (100, 8)


def test_a_replayed_search_is_planned_as_it_is_drawn() -> None:
    replay = '{"mean_tokens": 100, "sigma": 0.9, "min_steps": 4, "max_steps": 8}'
    work = default_workload(FastTTSConfig(replay=replay), 32_768)
    assert (work.step_tokens, work.step_sigma, work.path_tokens, work.rounds) == (100, 0.9, 600, 6)
