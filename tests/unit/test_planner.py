"""The planner: against measurements, a simulation, a brute-force sweep, and in its invariants."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttts_sglang.engine import TINY
from fasttts_sglang.errors import BadRequest, InsufficientMemory
from fasttts_sglang.memory.machines import MACHINES, Machine
from fasttts_sglang.memory.planner import MIB, Planner, choose_split
from fasttts_sglang.memory.roofline import generator_seconds, verifier_seconds
from fasttts_sglang.memory.shapes import ModelShape
from fasttts_sglang.memory.working_set import WorkingSet
from fasttts_sglang.memory.workload import Workload

SMALL = ModelShape.named("qwen2.5-1.5b")
SMALL_PRM = ModelShape.named("qwen2.5-1.5b", verifier=True)
LARGE = ModelShape.named("qwen2.5-7b")
LARGE_PRM = ModelShape.named("mistral-7b", verifier=True)
PAIRS = [(SMALL, SMALL_PRM), (LARGE, SMALL_PRM), (SMALL, LARGE_PRM)]
H200, RTX = MACHINES["h200"], MACHINES["rtx-4090"]
AMPLE = np.array([1e8])

workloads = st.builds(
    Workload,
    n=st.integers(1, 600),
    branch=st.integers(1, 8),
    prompt_tokens=st.integers(1, 1000),
    step_tokens=st.floats(1, 300),
    step_sigma=st.floats(0, 1.5),
    path_tokens=st.integers(1, 4000),
)
pairs = st.sampled_from(PAIRS)
machines = st.sampled_from(list(MACHINES.values()))


def least(generator: ModelShape, verifier: ModelShape, workload: Workload) -> int:
    return (generator.kv_bytes + verifier.kv_bytes) * workload.longest_tokens


# -- against what was measured on an H200 (benchmarks/reports, Qwen2.5-1.5B twice) ----------------


@pytest.mark.parametrize(
    ("rows", "measured_s"), [(16, 2.2e-3), (64, 2.7e-3), (128, 3.4e-3), (256, 4.7e-3)]
)
def test_a_decode_step_takes_what_it_took(rows: int, measured_s: float) -> None:
    """Equal steps and one round of n rows: all decode all the time, at 264 tokens on average."""
    work = Workload(n=rows, prompt_tokens=200, step_tokens=128, step_sigma=0, path_tokens=128)
    step_s = generator_seconds(SMALL, H200, work, AMPLE)[0] / 128
    assert step_s == pytest.approx(measured_s, rel=0.1)


@pytest.mark.parametrize(("rows", "measured_s"), [(8, 8.2e-3), (32, 16.4e-3), (64, 26.2e-3)])
def test_a_decode_step_of_the_tiny_generator_takes_what_it_took(
    rows: int, measured_s: float
) -> None:
    config = json.loads((TINY / "generator" / "config.json").read_text())
    tiny = ModelShape.from_config(config, dtype="float32")
    work = Workload(n=rows, prompt_tokens=200, step_tokens=64, step_sigma=0, path_tokens=64)
    step_s = generator_seconds(tiny, MACHINES["cpu"], work, AMPLE)[0] / 64
    assert step_s == pytest.approx(measured_s, rel=0.1)


def test_a_cold_verifier_takes_what_it_took() -> None:
    work = Workload(n=64, prompt_tokens=1, step_tokens=600, path_tokens=600)
    assert verifier_seconds(SMALL_PRM, H200, work, AMPLE)[0] == pytest.approx(0.30, rel=0.2)


@pytest.mark.parametrize(
    ("n", "generator_s", "verifier_s"),
    [(64, 5.14 - 0.38 - 0.21, 0.38), (256, 10.13 - 1.15 - 0.79, 1.15)],
)
def test_a_search_takes_what_it_took(n: int, generator_s: float, verifier_s: float) -> None:
    """Nine rounds without speculation; the time of our own scheduling is not the generator's."""
    work = Workload(n=n, prompt_tokens=200, path_tokens=630)
    assert work.rounds == 9
    predicted = 9 * generator_seconds(SMALL, H200, work, AMPLE)[0]
    assert predicted == pytest.approx(generator_s, rel=0.25)
    predicted = 9 * verifier_seconds(SMALL_PRM, H200, work, AMPLE)[0]
    assert predicted == pytest.approx(verifier_s, rel=0.25)


# -- against a simulation -------------------------------------------------------------------------


def simulated_round(
    model: ModelShape, work: Workload, slots: int, rng: np.random.Generator
) -> float:
    """Seconds of a first round with `slots` rows at once, step by step."""
    mu = math.log(work.step_tokens) - work.step_sigma**2 / 2
    lengths = list(np.maximum(1, rng.lognormal(mu, work.step_sigma, work.n).round()).astype(int))
    running = [[length, work.prompt_tokens] for length in lengths[:slots]]
    waiting = lengths[slots:]
    weights_s, seconds = model.read_bytes / RTX.bandwidth, 0.0
    while running:
        kv = model.kv_bytes * sum(context for _, context in running)
        flops = len(running) * (model.flops + model.head_flops)
        seconds += RTX.step_s + RTX.row_s * len(running)
        seconds += max(weights_s + kv / RTX.bandwidth, flops / RTX.rate)
        running = [[left - 1, context + 1] for left, context in running if left > 1]
        while waiting and len(running) < slots:
            running.append([waiting.pop(), work.prompt_tokens])
    return seconds


@pytest.mark.parametrize("model", [SMALL, LARGE], ids=["1.5B", "7B"])
@pytest.mark.parametrize("slots", [32, 24, 12, 4])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0])
def test_a_round_in_waves_is_as_long_as_a_simulated_one(
    model: ModelShape, slots: int, sigma: float
) -> None:
    work = Workload(n=32, step_sigma=sigma, path_tokens=70)
    sets = WorkingSet.of(work)
    tokens = np.array([np.interp(slots, [1, 32], [sets.first[0], sets.full[0]])])
    assert sets.rows_at_once(tokens)[0, 0] == pytest.approx(slots)
    rng = np.random.default_rng(7)
    mean = np.mean([simulated_round(model, work, slots, rng) for _ in range(60)])
    assert generator_seconds(model, RTX, work, tokens)[0] == pytest.approx(mean, rel=0.12)


def naive_survivors(work: Workload, rng: np.random.Generator) -> list[int]:
    """Distinct tokens of the survivors by round in a search that selects at random."""
    keep, found, kept = work.n // work.branch, [], [()]
    step = int(work.step_tokens)
    for number in range(work.rounds):
        nodes = {path[:length] for path in kept for length in range(1, len(path) + 1)}
        found.append(work.prompt_tokens + step * len(nodes))
        fanout = work.n if number == 0 else work.branch
        children = [(*path, child) for path in kept for child in range(fanout)]
        kept = [children[i] for i in rng.choice(len(children), keep, replace=False)]
    return found


@pytest.mark.parametrize(("n", "branch"), [(64, 4), (64, 2), (256, 4), (16, 1)])
def test_survivors_share_as_much_as_in_a_random_tree(n: int, branch: int) -> None:
    work = Workload(n=n, branch=branch)
    rng = np.random.default_rng(3)
    mean = np.mean([naive_survivors(work, rng) for _ in range(30)], axis=0)
    assert WorkingSet.of(work).survivors == pytest.approx(mean, rel=0.1)


# -- invariants -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(pairs, machines, workloads, st.floats(0, 12))
def test_the_split_is_as_good_as_any_of_a_sweep(
    pair: tuple[ModelShape, ModelShape], machine: Machine, work: Workload, room: float
) -> None:
    generator, verifier = pair
    budget = math.ceil(least(*pair, work) * 2**room)
    plan = choose_split(*pair, machine, work, budget)
    assert 0 < plan.verifier_fraction < 1
    assert plan.generator.kv_bytes + plan.verifier.kv_bytes == budget
    assert min(plan.generator.kv_tokens, plan.verifier.kv_tokens) >= work.longest_tokens

    low, high = verifier.kv_bytes * work.longest_tokens, generator.kv_bytes * work.longest_tokens
    splits = np.append(np.linspace(low, budget - high, 1000), plan.verifier.kv_bytes)
    tokens = (budget - splits) / generator.kv_bytes, splits / verifier.kv_bytes
    swept = generator_seconds(generator, machine, work, tokens[0])
    verifying = verifier_seconds(verifier, machine, work, tokens[1])
    swept += verifying * machine.verifier_waits
    assert swept[-1] <= swept.min() * 1.01
    assert plan.round_s == pytest.approx(swept[-1], rel=0.05)


@settings(max_examples=100, deadline=None)
@given(pairs, machines, workloads, st.floats(0, 12), st.floats(0, 4))
def test_more_memory_is_never_slower(
    pair: tuple[ModelShape, ModelShape], machine: Machine, work: Workload, room: float, more: float
) -> None:
    planner = Planner(*pair, machine, work)
    budget = math.ceil(least(*pair, work) * 2**room)
    less, greater = planner.best(budget), planner.best(math.ceil(budget * 2**more))
    assert greater.round_s <= less.round_s * (1 + 1e-6)
    tokens = np.geomspace(work.longest_tokens, 1e6, 50)
    for predict, model in zip((generator_seconds, verifier_seconds), pair, strict=True):
        assert (np.diff(predict(model, machine, work, tokens)) <= 1e-9).all()


@settings(max_examples=100, deadline=None)
@given(pairs, machines, workloads, st.integers(1, 300), st.floats(0, 12))
def test_more_beams_are_never_faster(
    pair: tuple[ModelShape, ModelShape], machine: Machine, work: Workload, more: int, room: float
) -> None:
    wider = Workload(**{**work.to_dict(), "n": work.n + more})
    budget = math.ceil(least(*pair, work) * 2**room)
    narrow, wide = (choose_split(*pair, machine, w, budget).round_s for w in (work, wider))
    assert wide >= narrow * (1 - 1e-6)


@given(pairs, workloads, st.floats(0, 1, exclude_max=True))
def test_a_budget_without_room_is_refused_with_the_shortfall(
    pair: tuple[ModelShape, ModelShape], work: Workload, part: float
) -> None:
    needed = least(*pair, work)
    budget = int(needed * part)
    missing = needed - budget
    with pytest.raises(
        InsufficientMemory, match=f"{math.ceil(missing / MIB)} MiB are missing"
    ) as e:
        choose_split(*pair, H200, work, budget)
    assert e.value.missing == missing
    assert choose_split(*pair, H200, work, needed).generator.kv_tokens == work.longest_tokens


def test_a_given_split_without_room_is_refused() -> None:
    planner = Planner(SMALL, SMALL_PRM, H200, Workload())
    assert planner.at(1 << 30, 1 << 29).verifier_fraction == 0.5
    with pytest.raises(InsufficientMemory, match="in this split not even one path of 816 tokens"):
        planner.at(1 << 30, 1 << 20)
    with pytest.raises(InsufficientMemory, match="1 MiB are missing"):
        planner.at(1 << 30, (1 << 30) - SMALL.kv_bytes * 816 + 1)


def test_memory_to_spare_is_shared_in_proportion() -> None:
    plan = choose_split(LARGE, SMALL_PRM, RTX, Workload(n=8), 4 << 30)
    assert plan.generator.kv_tokens == pytest.approx(plan.verifier.kv_tokens, rel=0.001)


def test_short_memory_goes_to_who_gains_most() -> None:
    work = Workload(n=256)
    to_large_verifier = choose_split(SMALL, LARGE_PRM, RTX, work, 3 << 30).verifier_fraction
    to_small_verifier = choose_split(LARGE, SMALL_PRM, RTX, work, 1 << 30).verifier_fraction
    assert to_small_verifier < 0.2 < 0.7 < to_large_verifier


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n", 0, r"n: it must be in \[1, 4096\], got 0"),
        ("step_tokens", math.nan, "step_tokens: must be a finite number"),
        ("step_sigma", 3.0, r"step_sigma: it must be in \[0, 2\], got 3.0"),
        ("path_tokens", "long", "path_tokens: must be an integer, got 'long'"),
    ],
)
def test_a_senseless_workload_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        Workload(**{field: value})  # type: ignore[arg-type]
