"""No prefix is computed twice: siblings wait until one of them has brought it in."""

from array import array
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sglang.srt.mem_cache.base_prefix_cache import InsertParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey

from fasttts_sglang.runtime.branch import Branch
from fasttts_sglang.runtime.live_paths import LivePaths
from fasttts_sglang.runtime.order_hooks import admit_what_fits
from fasttts_sglang.runtime.prefix_order import PrefixOrder
from fasttts_sglang.runtime.prefixes import look_up
from fasttts_sglang.runtime.reading import Reading, ScoreJob
from fasttts_sglang.runtime.row import Row
from fasttts_sglang.runtime.verifier_order import front, leaders
from fasttts_sglang.scheduling.lengths import Lengths
from fasttts_sglang.scheduling.step import Step
from fasttts_sglang.search.core import Finish, Path

PROMPT = array("q", range(1000, 1040))
STEP = 30  # tokens, more than are computed twice rather than waited for
FEW = 16

leaves = st.sets(
    st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12
)
parts = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 200)), max_size=4)


def tokens(path: Path) -> "array[int]":
    """Of one step, different for every path."""
    first = 2000 + hash(path) % 10**9
    return array("q", range(first, first + STEP))


def sequence(path: Path) -> "array[int]":
    ids = PROMPT[:]
    for depth in range(len(path)):
        ids += tokens(path[: depth + 1])
    return ids


def cache() -> RadixCache:
    allocator = SimpleNamespace(device="cpu", free_segment=lambda *_, **__: None)
    return RadixCache.create_simulated(mock_allocator=allocator)


def compute(tree: RadixCache, batch: list["array[int]"]) -> int:
    """Prefill a batch: what is not cached when it begins is computed, for each row on its own."""
    missing = sum(len(ids) - look_up(tree, ids).total for ids in batch)
    for ids in batch:
        tree.insert(InsertParams(key=RadixKey(ids, None)))
    return missing


def unique(tree: RadixCache, all_ids: list["array[int]"]) -> int:
    """Tokens that have to be computed once."""
    prefixes = {
        bytes(ids[:end]) for ids in all_ids for end in range(look_up(tree, ids).total, len(ids))
    }
    return len(prefixes)


def half_cached(paths: list[Path], held: list[tuple[int, int]]) -> RadixCache:
    tree = cache()
    for index, length in held:
        if index < len(paths) and length:
            ids = sequence(paths[index])[:length]
            tree.insert(InsertParams(key=RadixKey(ids, None)))
    return tree


params = SimpleNamespace(max_new_tokens=20)  # of an ordinary request


class Search:
    """Some of an ActiveSearch."""


class Scheduler:
    """As much as the order needs of SGLang's, with a search whose rows all wait."""

    def __init__(self, tree: RadixCache, paths: list[Path]) -> None:
        self.tree_cache, self.page_size = tree, 1
        self.room = 10**6
        self.token_to_kv_pool_allocator = SimpleNamespace(available_size=lambda: self.room)
        self.new_token_ratio_tracker = SimpleNamespace(current=0.5)
        self.order = PrefixOrder(self, LivePaths(list))
        runner = SimpleNamespace(order=self.order)
        counts = SimpleNamespace(rounds=1)
        self.search: Any = Search()
        vars(self.search).update(
            rid="s",
            prompt=PROMPT,
            branches={},
            rows=[],
            counts=counts,
            runner=runner,
            rules=SimpleNamespace(budget=1000),
            lengths=Lengths(STEP),
        )
        for path in paths:
            for depth in range(len(path) + 1):
                self.branch(path[:depth], complete=depth < len(path))
        self.search.branches.update({path: self.leaf(path) for path in paths})
        self.waiting_queue = [self.request(path, turn) for turn, path in enumerate(paths)]

    def branch(self, path: Path, *, complete: bool) -> None:
        step = Step(path, None, requested=True, finish=Finish.STOP if complete else None)
        ids = sequence(path)[len(PROMPT) :]
        parent = SimpleNamespace(step=step, ids=ids, parent_len=len(ids) - STEP)
        self.search.branches.setdefault(path, parent)

    def leaf(self, path: Path) -> Branch:
        ids = sequence(path[:-1])[len(PROMPT) :]
        step = Step(path, None, requested=True)
        return Branch(step, 0, ids, Reading(array("q"), 0), parent_len=len(ids))

    def request(self, path: Path, turn: int) -> Any:
        row = Row(self.search, self.search.branches[path], turn=turn)
        self.search.rows.append(row)
        row.req = SimpleNamespace(
            rid=str(path),
            req_pool_idx=None,
            output_ids=[],
            fasttts=row,
            sampling_params=SimpleNamespace(max_new_tokens=1000),
        )
        return row.req

    def prefill(self, _scheduler: Any, running: Any) -> Any:
        """SGLang with room for everything that we let it see."""
        admitted, self.waiting_queue = self.waiting_queue, []
        return SimpleNamespace(admitted=admitted, running_batch=running)


class Running:
    """A batch that SGLang decodes."""

    def __init__(self, reqs: list[Any]) -> None:
        self.reqs, self.batch_is_full = reqs, False

    def is_empty(self) -> bool:
        return not self.reqs


@given(leaves, parts)
def test_waiting_rows_compute_every_prefix_once(
    paths: set[Path], held: list[tuple[int, int]]
) -> None:
    # rows stand at leaves only
    rows = sorted(p for p in paths if not any(q[: len(p)] == p and q != p for q in paths))
    tree = half_cached(rows, held)
    scheduler = Scheduler(tree, rows)
    prefixes = [sequence(path[:-1]) for path in rows]
    needed, computed, passes = unique(tree, prefixes), 0, 0
    running = Running([])
    while scheduler.waiting_queue:
        before = [req.rid for req in scheduler.waiting_queue]
        admitted = admit_what_fits(scheduler.prefill, scheduler, running).admitted
        assert admitted
        left = [req.rid for req in scheduler.waiting_queue]
        assert left == [rid for rid in before if rid in left]  # nobody has lost a place
        assert len(left) + len(admitted) == len(before)
        for req in admitted:
            scheduler.search.rows.remove(req.fasttts)
        branches = [req.fasttts.branch for req in admitted]
        computed += compute(tree, [PROMPT + branch.ids for branch in branches])
        passes += 1
    assert computed <= needed + FEW * len(rows)
    assert passes <= 1 + max(map(len, rows))


def test_who_shares_what_is_being_prefilled_waits_too() -> None:
    rows = [(0, 0, 0), (0, 0, 1), (1, 0, 0)]
    scheduler = Scheduler(cache(), rows)
    first = scheduler.waiting_queue.pop(0)
    first.req_pool_idx, first.cache_protected_len = 3, 0
    admission, running = scheduler.order.admission, Running([])
    assert admission.withheld(running) == {str(path) for path in rows[1:]}  # the prompt
    tree = scheduler.tree_cache
    tree.insert(InsertParams(key=RadixKey(PROMPT[:], None)))
    assert admission.withheld(running) == {str((0, 0, 1))}
    first.cache_protected_len = len(sequence((0, 0)))
    tree.insert(InsertParams(key=RadixKey(sequence((0, 0)), None)))
    assert admission.withheld(running) == set()
    running.batch_is_full = True
    assert admission.withheld(running) == set()


@given(leaves, st.integers(0, 400), st.booleans())
def test_rows_are_admitted_in_order_as_far_as_their_steps_will_fit(
    paths: set[Path], room: int, idle: bool
) -> None:
    rows = sorted(p for p in paths if not any(q[: len(p)] == p and q != p for q in paths))
    tree = cache()
    for path in rows:
        tree.insert(InsertParams(key=RadixKey(sequence(path[:-1]), None)))
    scheduler = Scheduler(tree, rows)
    scheduler.room = room - tree.evictable_size()
    running = Running(
        [] if idle else [SimpleNamespace(sampling_params=params, output_ids=[0] * 20)]
    )
    plan = admit_what_fits(scheduler.prefill, scheduler, running)
    admitted = [req.fasttts.branch.path for req in plan.admitted]
    left = [req.fasttts.branch.path for req in scheduler.waiting_queue]
    assert admitted + left == rows
    needed = [
        len({ids[:end] for ids in map(tuple, some) for end in range(1, len(ids) + 1)})
        + STEP * len(some)
        for some in ([sequence(path[:-1]) for path in rows[:end]] for end in range(len(rows) + 1))
    ]
    fit = max(end for end, tokens in enumerate(needed) if tokens <= room or end == 0)
    assert len(admitted) == (max(fit, 1) if idle else fit)
    assert running.batch_is_full == (not idle and bool(left))
    assert all(req.sampling_params.max_new_tokens == STEP for req in plan.admitted)
    if running.batch_is_full:
        again = admit_what_fits(refuse, scheduler, running)
        assert running.batch_is_full and again is None
        scheduler.waiting_queue.append(SimpleNamespace(rid="ordinary"))
        scheduler.room = -(10**6)
        later = admit_what_fits(scheduler.prefill, scheduler, running)
        assert [req.rid for req in later.admitted] == ["ordinary"]


def refuse(_scheduler: Any, running: Any) -> None:
    """What SGLang does if the batch is full."""
    assert running.batch_is_full


def test_what_rows_will_probably_need_is_reserved_for_them() -> None:
    scheduler = Scheduler(cache(), [(0,), (1,)])
    one, other = (req.fasttts for req in scheduler.waiting_queue)
    one.req.output_ids = list(range(10))
    assert (one.tokens_left, other.tokens_left) == (STEP - 10, STEP)
    one.req.output_ids = list(range(STEP))
    assert one.tokens_left == STEP // 2
    ordinary = SimpleNamespace(sampling_params=params, output_ids=[1, 2])
    running: Any = Running([one.req, ordinary])
    assert scheduler.order.admission.reserved(running) == STEP // 2 + (20 - 2) // 2


@given(leaves, parts)
def test_the_verifier_computes_every_prefix_once(
    paths: set[Path], held: list[tuple[int, int]]
) -> None:
    nodes = sorted(paths)
    tree = half_cached(nodes, held)
    todo = [job(path) for path in nodes]
    known = {id(one): sequence(path[:-1]) for one, path in zip(todo, nodes, strict=True)}
    needed, computed = unique(tree, list(known.values())), 0
    while todo:
        batch = leaders(tree, todo)
        assert batch[0] is todo[0]
        computed += sum(
            max(0, len(known[id(one)]) - look_up(tree, one.token_ids).total) for one in batch
        )
        compute(tree, [one.token_ids for one in batch])
        done = set(map(id, batch))
        todo = [one for one in todo if id(one) not in done]
    assert computed <= needed + FEW * len(nodes)


@given(leaves, st.integers(0, 600))
def test_the_verifier_takes_what_fits_together(paths: set[Path], room: int) -> None:
    jobs = [job(path) for path in sorted(paths)]
    some = front(jobs, room)
    assert some == jobs[: len(some)]  # in their order, at least one
    tokens = [
        len({tuple(one.token_ids[:end]) for one in few for end in range(1, len(one.token_ids) + 1)})
        for few in (jobs[: end + 1] for end in range(len(jobs)))
    ]
    assert len(some) == max(1, sum(num_tokens <= room for num_tokens in tokens))


def job(path: Path) -> ScoreJob:
    """Score the last step of `path`."""
    reading = Reading(PROMPT[:], len(PROMPT))
    for depth in range(1, len(path) + 1):
        reading.add(tokens(path[:depth]))
    return ScoreJob(reading, len(path) - 1)
