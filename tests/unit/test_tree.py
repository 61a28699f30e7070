"""The tree with any timing, any speculation: the result is that of the plain algorithm."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.scheduling.outlook import DISCOUNT
from fasttts_sglang.scheduling.slots import FLOOR, FLOOR_SHORT, choose, how_many
from fasttts_sglang.scheduling.step import Step
from fasttts_sglang.scheduling.tree import SearchTree
from fasttts_sglang.search.aggregate import AGGREGATIONS
from fasttts_sglang.search.algorithms import BUILT_IN, make
from fasttts_sglang.search.core import Expand, Finish, Node, Path, drive
from fasttts_sglang.search.params import SearchParams, Speculation
from fasttts_sglang.search.replay import Replay, ReplaySpec

WORLDS = st.builds(
    ReplaySpec,
    mean_tokens=st.sampled_from([1.0, 5.0, 40.0]),
    sigma=st.sampled_from([0.0, 0.6, 1.5]),
    rho=st.sampled_from([0.0, 0.8, 1.0]),
    min_steps=st.integers(1, 3),
    max_steps=st.integers(3, 6),
)
PARAMS = st.builds(
    lambda branch, kept, max_steps, aggregation, algorithm: SearchParams(
        n=branch * kept,
        branch=branch,
        max_steps=max_steps,
        aggregation=aggregation,
        algorithm=algorithm,
    ),
    branch=st.integers(1, 4),
    kept=st.integers(1, 5),
    max_steps=st.integers(1, 8),
    aggregation=st.sampled_from(sorted(AGGREGATIONS)),
    algorithm=st.sampled_from(sorted(BUILT_IN)),
)


def plain(params: SearchParams, world: Replay) -> list[Node]:
    """The algorithm alone: every round waits for all its nodes."""

    def expand(expansions: tuple[Expand, ...]) -> list[Node]:
        return [
            Node(
                path,
                (*expand.node.scores, world.score(path)),
                expand.node.num_tokens + world.step_tokens(path),
                end(world, path),
            )
            for expand in expansions
            for path in ((*expand.node.path, index) for index in range(expand.num_children))
        ]

    return drive(make(params), expand)


def end(world: Replay, path: Path) -> Finish:
    return Finish.EOS if len(path) > 50 else world.finish(path)


@dataclass
class Runtime:
    """Decodes token by token with few slots, scores now and then; its whims come from `rng`."""

    tree: SearchTree
    world: Replay
    slots: int
    rng: random.Random
    running: dict[Path, tuple[Step, int]] = field(default_factory=dict)  # and tokens to go
    paused: dict[Path, int] = field(default_factory=dict)  # tokens to go
    unscored: list[Step] = field(default_factory=list)
    decoded: set[Path] = field(default_factory=lambda: {()})  # tokens that are still there
    ahead: int = 0  # nodes that were begun before they were asked for
    max_rounds: int = 1000  # it is ended early after so many

    def run(self) -> list[Node]:
        self.tree.begin()
        for _ in range(100_000):
            if self.tree.candidates is not None:
                return self.tree.candidates
            self.assign()
            self.decode()
            if self.rng.random() < 0.5 or not self.running:
                self.score()
            if self.rng.random() < 0.3:
                self.tree.look()
            while self.tree.advance(lambda: self.tree.num_rounds >= self.max_rounds):
                self.forget()
        raise AssertionError("the search does not end")

    def assign(self) -> None:
        for step in self.tree.members:
            if not step.complete and step.path not in self.running:
                self.start(step)
        ahead = [s for s in self.tree.ahead() if not s.complete]
        worth = {step.path: step.worth for step in ahead}
        assert all(0 <= step.worth <= step.p <= 1 for step in ahead)
        running = [p for p, (s, _) in self.running.items() if not s.requested]
        waiting = [s for s in ahead if s.path not in self.running]
        asked = len(self.running) - len(running)
        chosen = choose(
            [worth.get(path, 0.0) for path in running],
            [step.worth for step in waiting],
            self.slots - asked,
        )
        for index in chosen.end:
            self.paused[running[index]] = self.running.pop(running[index])[1]
        for index in chosen.start:
            assert not waiting[index].requested
            self.ahead += 1
            self.start(waiting[index])
        assert len(self.running) <= max(asked, self.slots)

    def start(self, step: Step) -> None:
        assert step.parent is not None and step.parent.path in self.decoded
        left = self.paused.pop(step.path, None)
        self.running[step.path] = (step, left or self.world.step_tokens(step.path))

    def decode(self) -> None:
        """A step for some rows: completion order is arbitrary."""
        for path, (step, left) in list(self.running.items()):
            if self.rng.random() < 0.3:
                continue
            self.running[path] = (step, left - 1)
            if left == 1:
                del self.running[path]
                assert step.parent is not None
                tokens = step.parent.num_tokens + self.world.step_tokens(path)
                self.tree.complete(step, tokens, end(self.world, path))
                self.decoded.add(path)
                self.unscored.append(step)

    def score(self) -> None:
        for step in sorted(self.unscored, key=lambda step: step.path):
            if step.parent is not None and step.parent.node is not None:
                self.unscored.remove(step)
                assert step.parent is not None and step.parent.node is not None
                scores = (*step.parent.node.scores, self.world.score(step.path))
                self.tree.score(step, scores)

    def forget(self) -> None:
        """What is under no member is out of the race."""
        members = {step.path for step in self.tree.members}

        def alive(path: Path) -> bool:
            return any(path[:depth] in members for depth in range(len(path) + 1))

        self.running = {p: entry for p, entry in self.running.items() if alive(p)}
        self.paused = {p: left for p, left in self.paused.items() if alive(p)}
        self.unscored = [step for step in self.unscored if alive(step.path)]
        self.decoded = {p for p in self.decoded if alive(p) or p in self.tree.kept}
        assert all(step.path in self.decoded for step in self.tree.members if step.complete)


def search(
    params: SearchParams, world: Replay, mode: Speculation, slots: int, seed: int
) -> tuple[list[Node], Runtime]:
    tree = SearchTree(make(params), AGGREGATIONS[params.aggregation], mode)
    runtime = Runtime(tree, world, slots, random.Random(seed))
    return runtime.run(), runtime


@given(PARAMS, WORLDS, st.integers(0, 99), st.sampled_from(list(Speculation)), st.integers(0, 40))
def test_no_timing_and_no_speculation_changes_the_result(
    params: SearchParams, spec: ReplaySpec, seed: int, mode: Speculation, slots: int
) -> None:
    world = Replay(spec, seed)
    found, runtime = search(params, world, mode, slots, seed)
    assert found == plain(params, world)
    if mode is Speculation.OFF:
        assert not runtime.ahead


@given(PARAMS, WORLDS, st.integers(0, 99), st.sampled_from(list(Speculation)), st.integers(1, 6))
def test_a_search_that_is_ended_early_returns_the_best_it_kept(
    params: SearchParams, spec: ReplaySpec, seed: int, mode: Speculation, rounds: int
) -> None:
    """Whatever was decoded ahead, and no answer is lost for an unfinished path."""
    world = Replay(spec, seed)
    found = []
    for speculation, slots in ((mode, 7), (Speculation.OFF, 0)):
        tree = SearchTree(make(params), AGGREGATIONS[params.aggregation], speculation)
        runtime = Runtime(tree, world, slots, random.Random(slots), max_rounds=rounds)
        found.append(runtime.run())
        answers = {path for path in tree.kept if path and end(world, path) is Finish.EOS}
        if tree.num_rounds == rounds and answers:
            assert {node.path for node in found[-1]} <= answers
    assert found[0] == found[1]


def test_amid_a_round_its_answers_count_and_its_open_paths_do_not() -> None:
    tree = SearchTree(make(SearchParams(n=4)), AGGREGATIONS["last"], Speculation.OFF)
    tree.begin()
    for step, finish in zip(tree.members, (Finish.EOS, Finish.STOP, Finish.EOS), strict=False):
        tree.complete(step, 5, finish)
    tree.score(tree.members[0], (0.3,))
    tree.score(tree.members[1], (0.9,))
    tree.stop(amid_round=True)
    assert tree.candidates is not None
    assert [node.path for node in tree.candidates] == [(0,)]
    assert not tree.members and not tree.advance()


@pytest.mark.parametrize("mode", [Speculation.PAPER, Speculation.FULL])
def test_a_node_that_was_dropped_may_be_asked_for_later(mode: Speculation) -> None:
    """mcts comes back to leaves whose children were decoded ahead and forgotten."""
    params = SearchParams(n=32, branch=4, algorithm="mcts", max_steps=12)
    for seed in range(8):
        world = Replay(ReplaySpec(mean_tokens=10), seed)
        found, _ = search(params, world, mode, 32, seed)
        assert found == plain(params, world)


@pytest.mark.parametrize("mode", [Speculation.PAPER, Speculation.FULL])
def test_idle_slots_are_used(mode: Speculation) -> None:
    world = Replay(ReplaySpec(), 1)
    _, runtime = search(SearchParams(n=16, branch=4), world, mode, 16, 1)
    assert runtime.ahead > 10


def test_what_is_decoded_ahead_is_mostly_needed() -> None:
    """Estimates that mean something: of the nodes with p(needed) near 0.8 most are asked for."""
    hits = total = 0
    for seed in range(12):
        params = SearchParams(n=16, branch=4)
        tree = SearchTree(make(params), AGGREGATIONS["last"], Speculation.FULL)
        runtime = Runtime(tree, Replay(ReplaySpec(mean_tokens=10), seed), 16, random.Random(seed))
        likely: set[Path] = set()
        asked: set[Path] = set()
        tree.begin()
        while tree.candidates is None:
            asked |= {step.path for step in tree.members}
            likely |= {s.path for s in tree.ahead() if 0.7 < s.p < 0.9 and not s.requested}
            runtime.assign()
            runtime.decode()
            runtime.score()
            while tree.advance():
                runtime.forget()
        hits += len(likely & asked)
        total += len(likely)
    assert 0.55 < hits / total < 0.97, (hits, total)


def test_a_better_score_is_likelier_to_survive_and_few_nodes_all_do() -> None:
    params = SearchParams(n=8, branch=2)
    tree = SearchTree(make(params), AGGREGATIONS["last"], Speculation.FULL)
    tree.begin()
    for step, score in zip(tree.members[:6], (0.9, 0.7, 0.5, 0.3, 0.2, 0.1), strict=True):
        tree.complete(step, 5, Finish.STOP)
        tree.score(step, (score,))
    chances = {step.path[:1]: step.p for step in tree.ahead()}
    order = [chances.get((index,), 0.0) for index in range(6)]
    assert order == sorted(order, reverse=True)
    assert order[0] > 0.95
    assert order[5] < 0.1


def test_what_is_needed_later_is_worth_less() -> None:
    """Of nodes that are equally likely, those are decoded first that the next round may ask for."""
    params = SearchParams(n=2, branch=2)
    tree = SearchTree(make(params), AGGREGATIONS["last"], Speculation.FULL)
    tree.begin()
    for step, score in zip(tree.members, (0.999, 0.001), strict=True):
        tree.complete(step, 5, Finish.STOP)
        tree.score(step, (score,))
    child = next(step for step in tree.ahead() if step.path == (0, 0))
    tree.complete(child, 9, Finish.STOP)
    by_path = {step.path: step for step in tree.ahead()}
    near, far = by_path[0, 1], by_path[0, 0, 0]
    assert (near.ahead, far.ahead) == (1, 2)
    assert near.worth == near.p
    assert far.worth == pytest.approx(DISCOUNT * far.p)


@given(
    st.lists(st.floats(0, 1), max_size=20),
    st.lists(st.floats(0, 1), max_size=20),
    st.integers(-3, 30),
    st.sampled_from((FLOOR, FLOOR_SHORT)),
)
def test_slots_never_exceed_the_room(
    running: list[float], waiting: list[float], room: int, floor: float
) -> None:
    choice = choose(running, waiting, room, floor)
    assert all(waiting[index] >= floor for index in choice.start)
    assert len(set(choice.end)) == len(choice.end)
    assert len(set(choice.start)) == len(choice.start)
    assert len(running) - len(choice.end) + len(choice.start) <= max(0, room)
    if room <= 0:
        assert len(choice.end) == len(running)


@given(
    st.lists(st.integers(1, 50), max_size=20),
    st.integers(-20, 300),
    st.integers(-2, 25),
    st.floats(0, 10),
)
def test_what_is_prefilled_ahead_fits_and_is_worth_a_forward(
    needs: list[int], room: int, places: int, few: float
) -> None:
    number = how_many(needs, room, places, few)
    assert 0 <= number <= max(0, places)
    assert number == 0 or (number >= few and sum(needs[:number]) <= room)
    assert (
        number < few or number == len(needs) or number >= places or sum(needs[: number + 1]) > room
    )
