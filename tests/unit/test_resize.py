"""The resize state machine against pools that fail at random."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.errors import InsufficientMemory
from fasttts_sglang.memory.machines import MACHINES
from fasttts_sglang.memory.planner import Planner
from fasttts_sglang.memory.rebalance import PAUSE, Load, Rebalancer, equal_tokens, planned
from fasttts_sglang.memory.resize import Resizer, State
from fasttts_sglang.memory.shapes import ModelShape
from fasttts_sglang.memory.workload import Workload

UNIT = 16  # tokens that are mapped together


class Memory:
    """Physical memory both pools draw from; watches that the budget holds at every instant."""

    def __init__(self, budget: int) -> None:
        self.budget, self.used, self.peak = budget, 0, 0

    def take(self, size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)


class FakePool:
    """Keeps live and cached tokens as sets of slots, as the real one does."""

    def __init__(self, memory: Memory, capacity: int, live: int, cached: int, token: int) -> None:
        self.memory, self.capacity, self.token = memory, capacity, token
        self.largest = 1 << 20
        self.live, self.cached = live, cached
        self.failures: list[bool] = []  # of the calls to come
        self.calls: list[str] = []
        self.mapped_bytes = self.bytes_at(capacity)
        memory.take(self.mapped_bytes)

    def bytes_at(self, capacity: int) -> int:
        return -(-capacity // UNIT) * UNIT * self.token

    def tokens_in(self, size: int) -> int:
        return min(size // (UNIT * self.token) * UNIT, self.largest)

    def drain(self, capacity: int) -> None:
        self._called("drain")
        if self.live > capacity:
            raise RuntimeError(f"{self.live} tokens are in use")
        self.cached = min(self.cached, capacity - self.live)

    def shrink(self, capacity: int) -> None:
        self._called("shrink")
        assert self.live + self.cached <= capacity < self.capacity
        self._set(capacity)

    def grow(self, capacity: int) -> None:
        self._called("grow")
        assert capacity > self.capacity
        self._set(capacity)

    def _set(self, capacity: int) -> None:
        self.memory.take(self.bytes_at(capacity) - self.mapped_bytes)
        self.capacity, self.mapped_bytes = capacity, self.bytes_at(capacity)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failures and self.failures.pop(0):
            raise RuntimeError(f"{name} failed")


def make(
    live: Sequence[int] = (10, 10), cached: Sequence[int] = (50, 50)
) -> tuple[Resizer, FakePool, FakePool, list[int]]:
    memory = Memory(0)
    generator = FakePool(memory, 160, live[0], cached[0], token=3)
    verifier = FakePool(memory, 96, live[1], cached[1], token=2)
    memory.budget = memory.used
    settled: list[int] = []
    pools = {"generator": generator, "verifier": verifier}
    resizer = Resizer(pools, memory.budget, lambda: settled.append(memory.used))
    return resizer, generator, verifier, settled


def test_what_shrinks_goes_first() -> None:
    resizer, generator, verifier, settled = make()
    outcome = resizer.resize({"verifier": 144, "generator": 128})
    assert outcome.error is None
    assert (generator.capacity, verifier.capacity) == (128, 144)
    assert (generator.calls, verifier.calls) == (["drain", "shrink"], ["grow"])
    assert generator.memory.peak == resizer.peak_bytes == resizer.budget_bytes
    assert settled == [resizer.budget_bytes]


@given(st.floats(0, 1), st.integers(1, 230), st.integers(1, 330))
def test_a_split_fits_and_leaves_what_is_needed(share: float, first: int, second: int) -> None:
    resizer, generator, verifier, _ = make()
    budget = resizer.budget_bytes
    need = generator.bytes_at(first) + verifier.bytes_at(second)
    try:
        targets = resizer.split("generator", "verifier", share, (first, second))
    except InsufficientMemory as refused:
        assert refused.missing == need - budget > 0
        return
    assert need <= budget
    resizer.check(targets)
    assert targets["generator"] >= first and targets["verifier"] >= second
    # what is left over is less than a unit of the verifier, and the share is as near as can be
    left = budget - generator.bytes_at(targets["generator"])
    assert left - verifier.bytes_at(targets["verifier"]) < UNIT * verifier.token
    if generator.bytes_at(first) < budget * share < budget - verifier.bytes_at(second):
        off = budget * share - generator.bytes_at(targets["generator"])
        assert 0 <= off < UNIT * generator.token


def test_a_small_share_still_fills_the_unit_that_it_takes() -> None:
    """A generator with nothing to do was once left 2 of the 4095 tokens that its memory holds."""
    resizer, *_ = make()
    assert resizer.split("generator", "verifier", 0.001, (2, 2))["generator"] == UNIT
    assert resizer.split("generator", "verifier", 0.999, (2, 2))["verifier"] == UNIT


plans = st.lists(
    st.tuples(
        st.integers(1, 250),
        st.integers(1, 250),
        st.lists(st.booleans(), max_size=3),
        st.lists(st.booleans(), max_size=3),
    ),
    max_size=20,
)


@given(
    plans,
    st.tuples(st.integers(0, 96), st.integers(0, 96)),
    st.tuples(st.integers(0, 64), st.integers(0, 96)),
)
def test_whatever_fails_live_kv_stays_and_the_budget_holds(
    plans: list[tuple[int, int, list[bool], list[bool]]],
    live: tuple[int, int],
    cached: tuple[int, int],
) -> None:
    cached = (min(cached[0], 160 - live[0]), min(cached[1], 96 - live[1]))
    resizer, generator, verifier, _ = make(live, cached)
    for first, second, *failures in plans:
        generator.failures, verifier.failures = map(list, failures)
        former = generator.capacity, verifier.capacity
        mapped = generator.mapped_bytes, verifier.mapped_bytes
        targets = {"generator": first, "verifier": second}
        try:
            outcome = resizer.resize(targets)
        except InsufficientMemory as refused:
            need = generator.bytes_at(first) + verifier.bytes_at(second)
            assert refused.missing == need - resizer.budget_bytes > 0
            assert (generator.capacity, verifier.capacity) == former
            continue
        now = generator.capacity, verifier.capacity
        if outcome.error is None:
            assert now == (first, second)
        elif outcome.restored:
            assert now == former
            assert (generator.mapped_bytes, verifier.mapped_bytes) == mapped
        else:  # the way back failed too
            assert all(a in (b, c) for a, b, c in zip(now, former, (first, second), strict=True))
        assert (generator.live, verifier.live) == live
        for pool in (generator, verifier):
            assert pool.live + pool.cached <= pool.capacity
            assert pool.mapped_bytes == pool.bytes_at(pool.capacity)
        assert generator.memory.used == resizer.mapped_bytes <= resizer.budget_bytes
        assert generator.memory.peak <= resizer.budget_bytes
        assert resizer.state is State.STEADY


def test_a_failure_is_rolled_back_and_says_where() -> None:
    resizer, generator, verifier, settled = make()
    verifier.failures = [True]
    outcome = resizer.resize({"generator": 128, "verifier": 144})
    assert (outcome.error, outcome.failed_in) == ("grow failed", State.GROWING)
    assert outcome.restored
    assert (generator.capacity, verifier.capacity) == (160, 96)
    assert generator.calls == ["drain", "shrink", "grow"]
    assert len(settled) == 1
    assert resizer.resize({"generator": 128, "verifier": 144}).error is None
    assert (resizer.num_done, resizer.num_rolled_back) == (1, 1)


def test_what_is_in_use_is_never_dropped() -> None:
    resizer, generator, _, _ = make(live=(120, 10), cached=(40, 0))
    outcome = resizer.resize({"generator": 112, "verifier": 160})
    assert outcome.failed_in is State.DRAINING
    assert outcome.error == "120 tokens are in use"
    assert (generator.live, generator.capacity) == (120, 160)


def test_a_way_back_that_fails_too_is_told() -> None:
    resizer, generator, verifier, _ = make()
    generator.failures, verifier.failures = [False, False, True], [True]
    outcome = resizer.resize({"generator": 128, "verifier": 144})
    assert not outcome.restored
    assert outcome.error == "grow failed; generator is left with 128 tokens: grow failed"
    assert (generator.capacity, verifier.capacity) == (128, 96)


def test_what_can_never_be_is_refused_with_numbers() -> None:
    resizer, *_ = make()
    with pytest.raises(InsufficientMemory, match=r"exceed the budget of 0\.0 MiB by 0\.5 MiB"):
        resizer.resize({"generator": 160 + (1 << 19) // 3})
    with pytest.raises(ValueError, match="verifier: its KV pool must have 1 to 1048576 tokens: 0"):
        resizer.resize({"verifier": 0})
    with pytest.raises(ValueError, match="'judge' is no pool; known are generator, verifier"):
        resizer.resize({"judge": 5})


def test_pools_beyond_the_budget_are_refused() -> None:
    memory = Memory(0)
    with pytest.raises(InsufficientMemory, match="lacks"):
        Resizer({"generator": FakePool(memory, 160, 0, 0, 1)}, 100)


def test_the_same_workload_is_decided_once() -> None:
    asked: list[Load] = []

    def decide(load: Load, share: float) -> float:
        asked.append(load)
        return 0.5

    rebalancer = Rebalancer(decide)
    assert rebalancer.look(Load(0, 0), 0.8) is None
    assert rebalancer.look(Load(16, 1000), 0.8) == 0.5
    for _ in range(50):
        assert rebalancer.look(Load(20, 1100), 0.5) is None
    assert len(asked) == 1
    assert rebalancer.look(Load(32, 1100), 0.8) == 0.5


@given(st.lists(st.tuples(st.integers(1, 512), st.integers(1, 4000), st.floats(0.05, 0.95))))
def test_moves_are_rare_and_worth_it(looks: list[tuple[int, int, float]]) -> None:
    wanted = 0.0
    rebalancer = Rebalancer(lambda load, share: wanted)
    share, last = 0.7, -PAUSE - 1
    for index, (width, tokens, wanted) in enumerate(looks):  # noqa: B007
        moved = rebalancer.look(Load(width, tokens), share)
        if moved is not None:
            assert abs(moved - share) >= 0.1
            assert index - last > PAUSE
            share, last = moved, index


def test_searches_that_begin_anew_are_the_same_workload() -> None:
    asked: list[Load] = []
    rebalancer = Rebalancer(lambda load, share: asked.append(load))
    for tokens in (900, 100, 300, 600, 900) * 3:
        step_tokens = None if tokens == 100 else 60.0
        rebalancer.look(Load(16, tokens, step_tokens=step_tokens), 0.5)
    assert asked == [Load(16, 900, step_tokens=60.0)]
    for _ in range(50):
        rebalancer.look(Load(16, 100), 0.5)
    assert [load.tokens < 900 for load in asked] == [False, True, True]


def test_a_move_that_failed_is_tried_again_after_a_pause() -> None:
    rebalancer = Rebalancer(lambda load, share: 0.5)
    assert rebalancer.look(Load(16, 900), 0.8) == 0.5
    rebalancer.failed()
    later = [rebalancer.look(Load(16, 900), 0.8) for _ in range(PAUSE + 1)]
    assert later == [None] * PAUSE + [0.5]


def test_equal_tokens() -> None:
    assert equal_tokens(300, 100)(Load(1, 1), 0.5) == 0.75


# -- the planner's rule ---------------------------------------------------------------------------

LARGE = ModelShape.named("qwen2.5-7b")
SMALL = ModelShape.named("qwen2.5-1.5b")
SMALL_PRM = ModelShape.named("qwen2.5-1.5b", verifier=True)
LARGE_PRM = ModelShape.named("mistral-7b", verifier=True)
H200 = MACHINES["h200"]
loads = st.builds(
    Load,
    width=st.integers(1, 10_000),
    tokens=st.integers(0, 9000),
    prompt_tokens=st.integers(0, 3000),
    branch=st.integers(0, 5000),
    step_tokens=st.none() | st.floats(0, 700),
)


class Space(FakePool):
    """A pool of a real model's bytes, none of it mapped."""

    def __init__(self, model: ModelShape) -> None:
        super().__init__(Memory(0), 0, 0, 0, model.kv_bytes)


@given(
    st.sampled_from([(SMALL, SMALL_PRM), (LARGE, SMALL_PRM), (SMALL, LARGE_PRM)]),
    loads,
    st.integers(1 << 20, 40 << 30),
    st.floats(0.01, 0.99),
)
def test_a_planned_share_is_one_that_both_pools_can_have(
    models: tuple[ModelShape, ModelShape], load: Load, budget: int, now: float
) -> None:
    """Whatever runs: the share holds a path of each model if the budget does, and so do the pools
    that are made of it in whole units."""
    share = planned(*models, H200, Workload(), budget)(load, now)
    work = load.workload(Workload())
    least = [model.kv_bytes * work.longest_tokens for model in models]
    if share is None:  # it is well where it is, so it is possible
        assert now * budget >= least[0] - 1
        assert (1 - now) * budget >= least[1] - 1
        return
    assert 0 < share < 1
    if sum(least) <= budget:
        assert share * budget >= least[0] - 1
        assert (1 - share) * budget >= least[1] - 1
    else:
        assert share == models[0].kv_bytes / (models[0].kv_bytes + models[1].kv_bytes)
    one, other = map(Space, models)
    resizer = Resizer({"generator": one, "verifier": other}, budget)
    running = (work.longest_tokens, work.longest_tokens)
    try:
        targets = resizer.split("generator", "verifier", share, running)
    except InsufficientMemory:
        units = sum(pool.bytes_at(work.longest_tokens) for pool in (one, other))
        assert units > budget
        return
    resizer.check(targets)
    assert min(targets.values()) >= work.longest_tokens


@given(
    st.sampled_from([(SMALL, SMALL_PRM), (LARGE, SMALL_PRM), (SMALL, LARGE_PRM)]),
    loads,
    st.floats(0, 8),
    st.floats(0.01, 0.99),
)
def test_a_planned_move_saves_what_it_is_worth(
    models: tuple[ModelShape, ModelShape], load: Load, room: float, now: float
) -> None:
    work = load.workload(Workload())
    least = sum(model.kv_bytes for model in models) * work.longest_tokens
    budget = int(least * 2**room) + 1
    planner = Planner(*models, H200, work)
    best = planner.best(budget)
    share = planned(*models, H200, Workload(), budget)(load, now)
    try:
        present_s = planner.at(budget, budget - int(now * budget)).round_s
    except InsufficientMemory:
        assert share is not None
        return
    if share is None:
        assert present_s <= best.round_s / 0.98 * (1 + 1e-9)
    else:
        moved = planner.at(budget, min(budget - round(share * budget), best.verifier.kv_bytes))
        assert moved.round_s <= 0.98 * present_s * (1 + 1e-6)


def test_the_planner_moves_memory_to_who_gains_most() -> None:
    """7B and 1.5B in 1 GiB: ample for 8 beams; with 512 the generator's rows are worth more."""
    decide = planned(LARGE, SMALL_PRM, H200, Workload(), 1 << 30)
    equal = equal_tokens(LARGE.kv_bytes, SMALL_PRM.kv_bytes)(Load(1, 1), 0.5)
    assert equal is not None
    narrow = Load(8, 816, prompt_tokens=256, branch=4, step_tokens=70)
    assert decide(narrow, equal) is None
    wide = decide(Load(512, 816, prompt_tokens=256, branch=4, step_tokens=70), equal)
    assert wide is not None
    assert wide > equal + 0.1


def test_a_load_is_planned_as_one_search() -> None:
    like = Workload(verifier_batch_tokens=99, step_sigma=0.9)
    work = Load(96, 1000, prompt_tokens=200, branch=3, step_tokens=50.5).workload(like)
    assert (work.n, work.branch, work.prompt_tokens, work.path_tokens) == (96, 3, 200, 800)
    assert (work.step_tokens, work.step_sigma, work.verifier_batch_tokens) == (50.5, 0.9, 99)
    unknown = Load(8, 0).workload(like)
    assert (unknown.step_tokens, unknown.path_tokens) == (70, 70)


def test_steps_of_another_length_are_another_workload() -> None:
    asked: list[Load] = []
    rebalancer = Rebalancer(lambda load, share: asked.append(load))
    for step_tokens in (None, 20.0, 25.0, 40.0):
        rebalancer.look(Load(16, 900, step_tokens=step_tokens), 0.5)
    assert [load.step_tokens for load in asked] == [None, 20.0, 40.0]
