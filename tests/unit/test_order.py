"""Prefix order: a permutation, siblings adjacent, nobody else moved, and worth its while."""

import random
import time
from collections import OrderedDict
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.scheduling.lengths import Lengths
from fasttts_sglang.scheduling.order import Place, backwards, common, depth_first, reseat
from fasttts_sglang.search.core import Path

paths = st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple)
places = st.lists(
    st.builds(
        Place,
        search=st.sampled_from("abc"),
        turn=st.integers(0, 1000),
        path=paths,
        requested=st.booleans(),
        p=st.floats(0, 1),
    ),
    max_size=300,  # SGLang's own prefix order ends at 128
    unique_by=lambda place: (place.search, place.path),
)


@given(places, st.sets(st.sampled_from("abc")))
def test_rows_are_permuted_with_siblings_adjacent(rows: list[Place], turned: set[str]) -> None:
    rows = [Place(r.search, r.turn, r.path, r.search in turned, r.requested, r.p) for r in rows]
    order = depth_first(rows)
    assert sorted(order) == list(range(len(rows)))
    asked = [rows[i] for i in order if rows[i].requested]
    assert [rows[i].requested for i in order] == [True] * len(asked) + [False] * (
        len(rows) - len(asked)
    )
    assert [rows[i].p for i in order[len(asked) :]] == sorted(
        (r.p for r in rows if not r.requested), reverse=True
    )
    for depth in range(5):  # every subtree is one run
        runs = [k for k, _ in groupby((r.search, r.path[:depth]) for r in asked)]
        assert len(runs) == len(set(runs))
    by_search = [list(some) for _, some in groupby(asked, key=lambda r: r.search)]
    oldest = [min(r.turn for r in some) for some in by_search]
    assert oldest == sorted(oldest)
    for some in by_search:
        going = [r.path for r in some]
        assert going == sorted(going, reverse=some[0].backwards)


@given(st.lists(st.tuples(st.integers(), st.booleans())), st.randoms(use_true_random=False))
def test_nobody_else_is_moved(queue: list[tuple[int, bool]], rng: random.Random) -> None:
    queue = [(i, mine) for i, (_, mine) in enumerate(queue)]
    mine = [i for i, (_, is_mine) in enumerate(queue) if is_mine]
    order = list(range(len(mine)))
    rng.shuffle(order)
    after = list(queue)
    reseat(after, mine, order)
    assert [entry for entry in after if not entry[1]] == [e for e in queue if not e[1]]
    assert all(a == b for a, b in zip(after, queue, strict=True) if not b[1])
    assert [after[i] for i in mine] == [queue[mine[k]] for k in order]


@given(st.lists(st.integers(1, 300), max_size=50), st.integers(0, 600), st.integers(1, 300))
def test_a_node_is_expected_to_be_as_long_as_others(seen: list[int], done: int, first: int) -> None:
    lengths = Lengths(first)
    for tokens in seen:
        lengths.observe(tokens)
    low, high = min([first, *seen]), max([first, *seen])
    assert low <= lengths.left(0) <= high
    assert 1 <= lengths.left(done) <= max(lengths.left(0), 1)
    assert lengths.left(done) >= lengths.left(0) // 2


@given(paths, paths)
def test_the_common_prefix_is_the_longest(first: Path, second: Path) -> None:
    length = common(first, second)
    assert first[:length] == second[:length]
    assert first[: length + 1] != second[: length + 1] or length == min(len(first), len(second))


class Cache:
    """KV of tree nodes under LRU: a node is evicted only when nothing below it is cached."""

    def __init__(self, room: int) -> None:
        self.recomputed = 0
        self._room = room
        self._size: OrderedDict[Path, int] = OrderedDict()  # least recently used first
        self._known: set[Path] = set()

    def visit(self, path: Path, sizes: dict[Path, int]) -> None:
        """Decode `path`, whose ancestors' KV must be there."""
        chain = [path[:depth] for depth in range(1, len(path) + 1)]
        for node in chain:
            if node not in self._size and node in self._known:
                self.recomputed += sizes[node]
            self._size[node] = sizes[node]
            self._known.add(node)
        for node in reversed(chain):  # an ancestor is as fresh as what is below it
            self._size.move_to_end(node)
        while sum(self._size.values()) > self._room:
            inner = {node[:-1] for node in self._size}
            victim = next(node for node in self._size if node not in inner)
            del self._size[victim]


def recomputed(seed: int, alternate: bool) -> int:
    """Tokens computed again in a beam search of width 32 whose round's KV is twice the cache."""
    rng = random.Random(seed)
    sizes: dict[Path, int] = {}
    cache = Cache(32 * 50 // 2)
    alive: list[Path] = [()] * 8
    for number in range(1, 9):
        children = sorted({(*path, child) for path in set(alive) for child in range(4)})
        for path in children:
            sizes[path] = rng.randint(20, 80)
        turned = alternate and backwards(number)
        for i in depth_first([Place("a", 0, path, turned) for path in children]):
            cache.visit(children[i], sizes)
        alive = rng.sample(children, min(8, len(children)))
    return cache.recomputed


def test_alternating_directions_recompute_less_than_one() -> None:
    fixed, turning = (sum(recomputed(seed, how) for seed in range(20)) for how in (False, True))
    print(f"recomputed tokens: {fixed} in one direction, {turning} alternating")
    assert turning < 0.8 * fixed


@pytest.mark.parametrize("n", [512, 4096])
def test_a_wide_round_is_ordered(n: int) -> None:
    rng = random.Random(1)
    rows = [Place("a", i, tuple(rng.randrange(4) for _ in range(8)), True) for i in range(n)]
    began = time.perf_counter()
    order = depth_first(rows)
    print(f"n={n}: {1000 * (time.perf_counter() - began):.2f} ms")
    assert [rows[i].path for i in order] == sorted((r.path for r in rows), reverse=True)
