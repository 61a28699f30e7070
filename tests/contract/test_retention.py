"""Eviction with knowledge, on SGLang's own radix cache without a model."""

from array import array
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey

from fasttts_sglang.runtime.kv_paths import KvEnd
from fasttts_sglang.runtime.live_paths import LivePaths
from fasttts_sglang.runtime.order_hooks import evict_what_is_dead
from fasttts_sglang.runtime.prefixes import Cached, look_up, look_up_again
from fasttts_sglang.runtime.retention import OURS, Retention

Ids = tuple[int, ...]
WIDTH = 4  # tokens of a flat entry
sequences = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)


def cache() -> RadixCache:
    """An empty one, without KV behind it."""
    allocator = SimpleNamespace(device="cpu", free_segment=lambda *_, **__: None)
    return RadixCache.create_simulated(mock_allocator=allocator)


def key(ids: Ids) -> RadixKey:
    return RadixKey(array("q", ids), None)


def insert(tree: RadixCache, ids: Ids, *, ours: bool) -> None:
    tree.insert(InsertParams(key=key(ids), priority=OURS if ours else 0))


def know(tree: RadixCache, live: dict[Ids, float]) -> None:
    """Install our strategy with these live paths."""

    def ends(tree: RadixCache) -> Iterator[tuple[Any, float]]:
        for ids, worth in live.items():
            yield look_up(tree, array("q", ids)).last, worth

    tree.eviction_strategy = Retention(tree, tree.eviction_strategy, lambda: 1, ends)


def evict(tree: RadixCache, num_tokens: int) -> None:
    changed = evict_what_is_dead(tree, EvictParams(num_tokens=num_tokens))  # as the hook does
    (_, params), _ = changed or ((tree, EvictParams(num_tokens=num_tokens)), {})
    tree.evict(params)


def prefixes(all_ids: Any) -> set[Ids]:
    """Every prefix: one entry per cached token."""
    return {ids[:end] for ids in all_ids for end in range(1, len(ids) + 1)}


def cached(tree: RadixCache) -> set[Ids]:
    found, stack = set(), [(tree.root_node, ())]
    while stack:
        node, before = stack.pop()
        ids = (*before, *node.key.token_ids)
        found |= {ids[:end] for end in range(len(before) + 1, len(ids) + 1)}
        stack += [(child, ids) for child in node.children.values()]
    return found


@given(st.lists(sequences, max_size=8), sequences)
def test_look_up_finds_what_a_match_finds_and_touches_nothing(held: list[Ids], ids: Ids) -> None:
    tree = cache()
    for one in held:
        insert(tree, one, ours=True)
    shape = sorted((len(node.key), node.last_access_time) for node in nodes(tree))
    found = look_up(tree, array("q", ids))
    assert sorted((len(node.key), node.last_access_time) for node in nodes(tree)) == shape
    assert found.total == len(prefixes([ids]) & cached(tree))
    for end in range(len(ids)):  # from any prefix on
        begin = look_up(tree, array("q", ids[:end]))
        assert look_up(tree, array("q", ids), begin).total == found.total
    assert found.total == len(tree.match_prefix(MatchPrefixParams(key=key(ids))).device_indices)


def nodes(tree: RadixCache) -> list[Any]:
    found, stack = [], [tree.root_node]
    while stack:
        found.append(stack.pop())
        stack += found[-1].children.values()
    return found


@given(
    dead=st.lists(sequences, max_size=6),
    live=st.dictionaries(sequences, st.floats(0, 2), max_size=5),
    ordinary=st.lists(sequences, max_size=4),
    locked=st.none() | sequences,
    num_tokens=st.integers(1, 30),
)
def test_dead_tokens_go_before_any_other(
    dead: list[Ids],
    live: dict[Ids, float],
    ordinary: list[Ids],
    locked: Ids | None,
    num_tokens: int,
) -> None:
    tree = cache()
    for ids in [*live, *dead]:
        insert(tree, ids, ours=True)
    for ids in ordinary:
        insert(tree, ids, ours=False)
    held = set()
    if locked is not None:
        found = tree.match_prefix(MatchPrefixParams(key=key(locked)))
        tree.inc_lock_ref(found.last_device_node)
        held = prefixes([locked[: len(found.device_indices)]])
    know(tree, live)
    before = cached(tree)
    evict(tree, num_tokens)
    gone, left = before - cached(tree), cached(tree)
    assert not gone & held
    needed = prefixes([*live, *ordinary]) | held
    if gone & needed:
        # a radix node that also holds needed tokens is needed whole
        edges = {node_ids[-1] for node_ids in whole_nodes(tree) if not set(node_ids) & needed}
        assert not edges & left, (gone, left)


def whole_nodes(tree: RadixCache) -> Iterator[list[Ids]]:
    """The prefixes that each node stands for."""
    stack: list[tuple[Any, Ids]] = [(tree.root_node, ())]
    while stack:
        node, before = stack.pop()
        ids = (*before, *node.key.token_ids)
        if ids:
            yield [ids[:end] for end in range(len(before) + 1, len(ids) + 1)]
        stack += [(child, ids) for child in node.children.values()]


flat = st.lists(
    st.tuples(st.sampled_from(["ordinary", "live", "dead"]), st.floats(0, 2)),
    min_size=1,
    max_size=30,
)


@given(flat, st.integers(1, 30))
def test_ordinary_prefixes_are_as_safe_as_on_stock_and_live_ones_go_by_worth(
    entries: list[tuple[str, float]], num_evicted: int
) -> None:
    stock, ours = cache(), cache()
    kinds = {(i, *range(WIDTH - 1)): entry for i, entry in enumerate(entries)}
    for ids, (kind, _) in kinds.items():
        for tree in (stock, ours):
            insert(tree, ids, ours=kind != "ordinary")
    know(ours, {ids: worth for ids, (kind, worth) in kinds.items() if kind == "live"})
    evict(stock, num_evicted * WIDTH)
    evict(ours, num_evicted * WIDTH)
    gone = {name: set(kinds) - cached(tree) for name, tree in (("stock", stock), ("ours", ours))}
    dead = {ids for ids, (kind, _) in kinds.items() if kind == "dead"}
    more = len(gone["ours"]) - len(gone["stock"])
    assert more == 0 or (more > 0 and gone["ours"] <= dead)
    ordinary = {ids for ids, (kind, _) in kinds.items() if kind == "ordinary"}
    assert gone["ours"] & ordinary <= gone["stock"] & ordinary
    live = {ids: worth for ids, (kind, worth) in kinds.items() if kind == "live"}
    lost = [worth for ids, worth in live.items() if ids in gone["ours"]]
    kept = [worth for ids, worth in live.items() if ids not in gone["ours"]]
    assert max(lost, default=0) <= min(kept, default=2)


def test_what_an_ordinary_request_shares_is_nobodys_to_drop_first() -> None:
    tree = cache()
    insert(tree, (1, 2, 3), ours=False)
    insert(tree, (7, 8, 9), ours=True)
    insert(tree, (1, 2, 3), ours=True)  # a search decodes the same and is pruned
    know(tree, {})
    evict(tree, 3)
    assert (1, 2, 3) in cached(tree) and (7, 8, 9) not in cached(tree)


def test_what_came_in_since_the_last_look_is_not_dead() -> None:
    tree = cache()
    insert(tree, (1, 2, 3), ours=True)
    know(tree, {})
    evict_what_is_dead(tree, EvictParams(num_tokens=1))
    insert(tree, (4, 5, 6), ours=True)
    evict(tree, 3)
    assert (4, 5, 6) in cached(tree) and (1, 2, 3) not in cached(tree)


def test_where_much_is_dead_the_next_evictions_are_spared() -> None:
    """At n=512 in 24 GB every decode step went over the whole cache to free a token per row."""
    tree = cache()
    for first in range(64):
        insert(tree, (first, 1, 2, 3), ours=True)
    know(tree, {(first, 1, 2, 3): 1.0 for first in range(32)})
    evict(tree, 1)
    gone = 256 - len(cached(tree))
    assert gone == 256 // 16
    assert prefixes((first, 1, 2, 3) for first in range(32)) <= cached(tree)


def test_searches_are_looked_at_only_when_what_is_known_to_be_dead_does_not_suffice() -> None:
    tree, looks = cache(), []
    for first in range(64):
        insert(tree, (first, 1, 2, 3), ours=True)
    states = iter(range(1000))

    def ends(tree: RadixCache) -> Iterator[tuple[Any, float]]:
        looks.append(1)
        yield look_up(tree, array("q", (0, 1, 2, 3))).last, 1.0

    tree.eviction_strategy = Retention(tree, tree.eviction_strategy, lambda: next(states), ends)
    while (0, 1, 2, 3) in cached(tree):
        evict(tree, 8)
    assert len(looks) == 2  # at the beginning, and when all that was dead had gone


def test_amid_a_round_a_sixteenth_of_the_cache_goes_between_two_looks() -> None:
    """Where live paths overfill a cache nothing is dead: each eviction looked at all of them."""
    tree, looks = cache(), []
    for first in range(64):
        insert(tree, (first, 1, 2, 3), ours=True)
    live = [node for node in nodes(tree) if node.parent is not None]

    def ends(_tree: RadixCache) -> Iterator[tuple[Any, float]]:
        looks.append(256 - len(cached(tree)))
        yield from ((node, 1.0) for node in live)

    round_number = [1]
    tree.eviction_strategy = Retention(tree, tree.eviction_strategy, lambda: round_number[0], ends)
    for _ in range(10):
        evict(tree, 4)
    assert looks == [0, 16, 32]
    round_number[0] += 1
    evict(tree, 4)
    assert len(looks) == 4


class Paths(LivePaths):
    """Each of these paths is live; it is known where some of them were put."""

    def __init__(self, known: dict[Ids, KvEnd | None]) -> None:
        super().__init__(list)
        self._known = known

    def _live(self) -> Iterator[tuple[Any, Any, float]]:
        for worth, ids in enumerate(self._known):
            yield None, ids, worth

    def _ids(self, _search: Any, branch: Any) -> "array[int]":
        return array("q", branch)

    def _kv(self, _search: Any, branch: Any) -> KvEnd | None:
        return self._known[branch]


@given(
    st.lists(st.tuples(sequences, st.booleans()), max_size=8),
    st.integers(0, 20),
    st.lists(sequences, max_size=4),
)
def test_where_a_path_was_put_tells_as_much_as_a_look_from_the_root(
    put: list[tuple[Ids, bool]], num_evicted: int, again: list[Ids]
) -> None:
    tree = cache()
    known: dict[Ids, KvEnd | None] = {}
    for ids, remembered in put:
        insert(tree, ids, ours=True)
        match = tree.match_prefix(MatchPrefixParams(key=key(ids)))  # splits where `ids` ends
        known[ids] = KvEnd(match.last_device_node, len(ids)) if remembered else None
    tree.evict(EvictParams(num_tokens=num_evicted))
    for ids in again:
        insert(tree, ids, ours=True)
    expected: dict[Any, float] = {}  # worths are in the order of the paths
    for worth, ids in enumerate(known):
        expected[look_up(tree, array("q", ids)).last] = worth
    found: dict[Any, float] = {}
    for node, worth in sorted(Paths(known).ends(tree), key=lambda end: end[1]):
        found[node] = worth
    assert found == expected
    gone: dict[Any, Cached] = {}
    for ids, end in known.items():
        if end is not None:
            whole = partial(array, "q", (*ids, 0, 1, 2))  # it goes on behind what was put
            for memory in (None, gone):
                again_found = look_up_again(tree, end.node, end.length, whole, memory)
                assert again_found.total == look_up(tree, whole()).total
