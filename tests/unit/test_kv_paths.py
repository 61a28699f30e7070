"""Paths that grow, fork, end and are evicted at random, over SGLang's real radix tree and pools.

A slot's KV is a hash of the tokens up to it, so what was mixed up, freed or left behind is noticed.
"""

from array import array
from itertools import combinations
from random import Random
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime import cpu

cpu.install_fallbacks()

from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator  # noqa: E402
from sglang.srt.mem_cache.base_prefix_cache import EvictParams  # noqa: E402
from sglang.srt.mem_cache.cache_init_params import CacheInitParams  # noqa: E402
from sglang.srt.mem_cache.memory_pool import ReqToTokenPool  # noqa: E402
from sglang.srt.mem_cache.radix_cache import RadixCache  # noqa: E402

from fasttts_sglang.runtime.kv_paths import KvEnd, KvPaths  # noqa: E402
from fasttts_sglang.runtime.shared_attention import prefix_end  # noqa: E402

ROWS, LONGEST, SLOTS = 8, 40, 120
PROMPT = array("q", [7, 7, 8])


class World:
    """One model's tree and pools, the rows that run, and where known paths ended."""

    def __init__(self) -> None:
        self.allocator = TokenToKVPoolAllocator(SLOTS, torch.int64, "cpu", None, False)
        self.index = ReqToTokenPool(ROWS, LONGEST, "cpu", False)
        self.tree = RadixCache(
            CacheInitParams(
                disable=False,
                req_to_token_pool=self.index,
                token_to_kv_pool_allocator=self.allocator,
                page_size=1,
            )
        )
        self.paths = KvPaths(self.tree)
        self.kv = [-1] * (SLOTS + 1)
        self.rows: list[Any] = []
        self.ends: dict[tuple[int, ...], KvEnd] = {}

    def start(self, tokens: tuple[int, ...]) -> None:
        """A fork of a path whose end is known, or what the tree has of it."""
        if not self.index.free_slots:
            return
        end = self.ends.get(tokens)
        slots = self.paths.slots(end)
        if end is None or slots is None:
            end = self.paths.find(array("q", tokens))
            slots = self.paths.slots(end)
        if slots is None or len(slots) < len(tokens) - 1:  # evicted: prefilled without any prefix
            slots, end = torch.empty(0, dtype=torch.int64), KvEnd(self.tree.root_node, 0)
        slots = slots[: len(tokens) - 1]
        row = SimpleNamespace(
            origin_input_ids=array("q", tokens),
            output_ids=array("q"),
            extra_key=None,
            fasttts="a row",
            priority=0,
            req_pool_idx=None,
            inflight_middle_chunks=0,
            kv_committed_len=len(slots),
            kv=SimpleNamespace(kv_allocated_len=len(slots)),
        )
        self.paths.hold(row, end, slots)
        self.index.alloc([row])
        self.index.write((row.req_pool_idx, slice(0, len(slots))), slots)
        self.rows.append(row)
        if not self.compute(row, len(tokens)):
            self.drop(row)

    def compute(self, row: Any, length: int) -> bool:
        """The row's KV is computed up to `length`, if there is room for it."""
        held = row.kv_committed_len
        if length - held > self.allocator.available_size():
            self.tree.evict(EvictParams(num_tokens=length - held))
        new = self.allocator.alloc(length - held)
        if new is None:
            return False
        self.index.write((row.req_pool_idx, slice(held, length)), new)
        ids = self.ids(row)
        for slot, end in zip(new.tolist(), range(held + 1, length + 1), strict=True):
            self.kv[slot] = hash(ids[:end])
        row.kv_committed_len = row.kv.kv_allocated_len = length
        return True

    def decode(self, row: Any, tokens: list[int]) -> None:
        tokens = tokens[: LONGEST - len(self.ids(row))]
        row.output_ids.extend(tokens)
        if not self.compute(row, len(self.ids(row))):
            del row.output_ids[len(row.output_ids) - len(tokens) :]

    def publish(self, rows: list[Any]) -> None:
        ends, _ = self.paths.update([(row, row.kv_committed_len) for row in rows])
        for row, end in zip(rows, ends, strict=True):
            self.ends[self.ids(row)] = end

    def drop(self, row: Any) -> None:
        self.rows.remove(row)
        self.paths.update((), [(row, None)])

    def settle(self, going_on: list[Any], ending: list[Any]) -> None:
        """Rows end, perhaps with slots behind their last token, while others go on."""
        for row in ending:
            self.rows.remove(row)
            if len(row.output_ids) > 1 and row.kv_committed_len > row.cache_protected_len + 1:
                del row.output_ids[-1:]
        with self.paths.freeing_together():
            extended, released = self.paths.update(
                [(row, row.kv_committed_len) for row in going_on],
                [(row, len(self.ids(row))) for row in ending],
            )
        for row, end in zip(going_on + ending, extended + released, strict=True):
            self.ends[self.ids(row)[: end.length]] = end

    @staticmethod
    def depth(node: Any) -> int:
        """Tokens down to a node of the tree."""
        depth = 0
        while node.parent is not None:
            depth += len(node.key)
            node = node.parent
        return depth

    @staticmethod
    def ids(row: Any) -> tuple[int, ...]:
        return (*row.origin_input_ids, *row.output_ids)

    def check(self) -> None:
        """All rows and paths read the KV of their tokens; every slot has one owner."""
        own = []
        for row in self.rows:
            ids = self.ids(row)
            slots = self.index.req_to_token[row.req_pool_idx, : row.kv_committed_len].tolist()
            assert [self.kv[s] for s in slots] == [hash(ids[: i + 1]) for i in range(len(slots))]
            own += slots[row.cache_protected_len :]
        for one, other in combinations(self.rows, 2):  # either may read for both
            length = min(one.cache_protected_len, other.cache_protected_len)
            pairs = zip(self.ids(one)[:length], self.ids(other)[:length], strict=True)
            length = next((at for at, pair in enumerate(pairs) if pair[0] != pair[1]), length)
            lines = self.index.req_to_token[[one.req_pool_idx, other.req_pool_idx], :length]
            assert torch.equal(lines[0], lines[1])
        for row in self.rows:  # of which it is told so
            node, depth, cached = prefix_end(row)
            assert cached <= depth == self.depth(node)
        for ids, end in self.ends.items():
            cached = self.paths.slots(end)
            if cached is not None:
                assert len(cached) == end.length
                assert [self.kv[s] for s in cached.tolist()] == [
                    hash(ids[: i + 1]) for i in range(end.length)
                ]
        free = self.allocator.free_pages.tolist()
        in_tree = self.tree.all_values_flatten().tolist() if self.tree.root_node.children else []
        assert sorted(free + own + in_tree) == list(range(1, SLOTS + 1))
        tree = self.tree
        assert len(in_tree) == tree.evictable_size() + tree.protected_size()


@given(st.integers(0, 10**9), st.integers(1, 60))
def test_kv_is_never_lost_mixed_up_or_freed_twice(seed: int, moves: int) -> None:
    rng, world = Random(seed), World()
    world.start(tuple(PROMPT))
    for _ in range(moves):
        move = rng.randrange(6)
        some = [row for row in world.rows if rng.random() < 0.5]
        if move == 0:
            known = [tuple(PROMPT), *world.ends, *map(world.ids, world.rows)]
            world.start(rng.choice(known))
        elif move in (1, 2):  # few different tokens: rows often decode the same
            for row in some:
                world.decode(row, [rng.randrange(2) for _ in range(rng.randrange(1, 5))])
        elif move == 3:
            world.publish(some)
        elif move == 4:
            half = len(some) // 2
            world.settle(some[:half], some[half:])
        elif rng.random() < 0.5:
            world.tree.evict(EvictParams(num_tokens=rng.randrange(20)))
        else:
            for row in some[:1]:
                world.drop(row)
        world.check()
    world.settle([], list(world.rows))
    world.check()
    assert world.tree.protected_size() == 0
    assert world.index.available_size() == ROWS
