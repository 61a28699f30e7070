"""A pool over SGLang's real allocator, radix tree and request table, resized at random.

Every token's KV is a hash of the tokens up to it, so that KV which was lost, mixed up or left
behind is noticed wherever it is read. Unmapped memory reads as garbage.
"""

from array import array
from collections.abc import Iterator, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.errors import InsufficientMemory
from fasttts_sglang.runtime import cpu

cpu.install_fallbacks()

from sglang.srt.mem_cache import memory_pool  # noqa: E402
from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator  # noqa: E402
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, MatchPrefixParams  # noqa: E402
from sglang.srt.mem_cache.cache_init_params import CacheInitParams  # noqa: E402
from sglang.srt.mem_cache.memory_pool import KVWriteLoc, ReqToTokenPool  # noqa: E402
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey  # noqa: E402

from fasttts_sglang.runtime.pools.build import at_largest, to_whole_units  # noqa: E402
from fasttts_sglang.runtime.pools.elastic_pool import ElasticPool  # noqa: E402
from fasttts_sglang.runtime.pools.plain_backing import PlainBacking  # noqa: E402

ROWS, LONGEST, LARGEST, UNIT = 6, 24, 127, 8


class Poisoned(PlainBacking):
    """Memory that is not mapped holds garbage."""

    def _map(self, begin: int, end: int) -> None:
        self._spoil(begin, end)

    def _unmap(self, begin: int, end: int) -> None:
        self._spoil(begin, end)

    def _spoil(self, begin: int, end: int) -> None:
        for tensor in self.tensors:
            tensor[begin:end] = -1


def kv_of(tokens: Sequence[int]) -> int:
    return hash(tuple(tokens)) & 0x7FFF_FFFF


class World:
    """SGLang's parts around one pool, and what runs on it."""

    def __init__(self, capacity: int) -> None:
        shapes = [(LARGEST + 1, 2, 3), (LARGEST + 1, 2, 5)]
        self.backing = Poisoned(shapes, torch.int64, "cpu", UNIT)
        self.backing.map(capacity + 1)
        self.allocator = TokenToKVPoolAllocator(capacity, torch.int64, "cpu", None, False)
        self.rows = ReqToTokenPool(ROWS, LONGEST, "cpu", False)
        params = CacheInitParams(
            disable=False,
            req_to_token_pool=self.rows,
            token_to_kv_pool_allocator=self.allocator,
            page_size=1,
        )
        self.tree = RadixCache(params)
        self.reqs: list[Any] = []
        self.told: list[int] = []
        runner = SimpleNamespace(
            token_to_kv_pool_allocator=self.allocator, req_to_token_pool=self.rows
        )
        self.pool = ElasticPool(
            runner, self.tree, self.backing, self.told.append, lambda: self.reqs
        )

    def start(self, tokens: list[int]) -> None:
        """A request is prefilled, if it fits."""
        if not self.rows.free_slots:
            return
        ids = array("q", tokens)
        match = self.tree.match_prefix(MatchPrefixParams(key=RadixKey(ids[:-1], None)))
        cached = len(match.device_indices)
        req = SimpleNamespace(
            origin_input_ids=ids,
            output_ids=array("q"),
            extra_key=None,
            priority=0,
            req_pool_idx=None,
            inflight_middle_chunks=0,
            kv_committed_len=0,
            prefix_indices=match.device_indices,
            last_node=match.last_device_node,
            cache_protected_len=cached,
        )
        req.get_fill_ids = lambda: ids
        self.tree.inc_lock_ref(req.last_node)
        short = len(ids) - cached - self.allocator.available_size()
        if short > 0:
            self.tree.evict(EvictParams(num_tokens=short))
        new = self.allocator.alloc(len(ids) - cached)
        if new is None:
            self.tree.dec_lock_ref(req.last_node)
            return
        self.rows.alloc([req])
        self.rows.write((req.req_pool_idx, slice(0, cached)), match.device_indices)
        self.rows.write((req.req_pool_idx, slice(cached, len(ids))), new)
        for slot, end in zip(new.tolist(), range(cached + 1, len(ids) + 1), strict=True):
            for tensor in self.backing.tensors:
                tensor[slot] = kv_of(tokens[:end])
        self.reqs.append(req)

    def publish(self, index: int) -> None:
        if self.reqs:
            self.tree.cache_unfinished_req(self.reqs[index % len(self.reqs)])

    def finish(self, index: int, keep: bool) -> None:
        if self.reqs:
            req = self.reqs.pop(index % len(self.reqs))
            length = len(req.origin_input_ids)
            self.tree.cache_finished_req(req, is_insert=keep, kv_len_to_handle=length)
            self.rows.free(req)

    def shuffle(self, seed: int) -> None:
        """The free list after a long life."""
        free = self.allocator.free_pages
        rng = torch.Generator().manual_seed(seed)
        self.allocator.free_pages = free[torch.randperm(len(free), generator=rng)]

    def resize(self, capacity: int) -> None:
        before = self.pool.capacity
        if capacity > before:
            self.pool.grow(capacity)
        elif capacity < before:
            if (used := self.pool.usage()["used"]) > capacity:
                with pytest.raises(InsufficientMemory, match=f"^{used} tokens of KV are in use"):
                    self.pool.drain(capacity)
                assert self.pool.capacity == before
                return
            self.pool.drain(capacity)
            self.pool.shrink(capacity)
        assert self.pool.capacity == capacity
        assert self.pool.mapped_bytes == self.pool.bytes_at(capacity)
        if capacity != before:
            assert self.told[-1] == capacity

    def check(self) -> None:
        capacity = self.pool.capacity
        table = self.rows.req_to_token
        assert int(table.min()) >= 0 and int(table.max()) <= capacity
        owned: set[int] = set()
        for tokens, slots in self.cached():
            assert self.kv(slots) == [kv_of(tokens[: i + 1]) for i in range(len(tokens))]
            owned |= set(slots)
        for req in self.reqs:
            tokens = req.origin_input_ids.tolist()
            slots = table[req.req_pool_idx, : len(tokens)].tolist()
            assert self.kv(slots) == [kv_of(tokens[: i + 1]) for i in range(len(tokens))]
            assert self.kv(req.prefix_indices.tolist()) == [
                kv_of(tokens[: i + 1]) for i in range(len(req.prefix_indices))
            ]
            owned |= set(slots)
        free = self.allocator.free_pages.tolist()
        assert len(set(free)) == len(free)
        assert not owned & set(free)
        assert owned | set(free) == set(range(1, capacity + 1))

    def kv(self, slots: list[int]) -> list[int]:
        for tensor in self.backing.tensors:
            assert bool((tensor[slots] == tensor[slots, :1, :1]).all())
        first, second = (tensor[slots, 0, 0].tolist() for tensor in self.backing.tensors)
        assert first == second
        return first

    def cached(self) -> Iterator[tuple[list[int], list[int]]]:
        """Tokens and slots from the root to each node."""
        waiting: list[tuple[Any, list[int], list[int]]] = [(self.tree.root_node, [], [])]
        while waiting:
            node, tokens, slots = waiting.pop()
            for child in node.children.values():
                path = tokens + list(child.key.token_ids), slots + child.value.tolist()
                yield path
                waiting.append((child, *path))


@given(st.randoms(use_true_random=False), st.integers(30, LARGEST))
def test_resizing_keeps_every_token_of_kv_that_is_in_use(rng: Random, capacity: int) -> None:
    world = World(capacity)
    for _ in range(40):
        match rng.choice(("start", "start", "publish", "finish", "shuffle", "resize", "resize")):
            case "start":
                world.start(rng.choices((0, 1), (3, 1), k=rng.randint(2, LONGEST)))
            case "publish":
                world.publish(rng.randrange(ROWS))
            case "finish":
                world.finish(rng.randrange(ROWS), keep=rng.random() < 0.8)
            case "shuffle":
                world.shuffle(rng.randrange(99))
            case "resize":
                used = world.pool.usage()["used"]
                world.resize(rng.randint(max(1, used - 5), LARGEST))
        world.check()


def test_what_is_cached_moves_too_if_there_is_room() -> None:
    world = World(LARGEST)
    for first in range(ROWS):
        world.start([first] * 20)
    world.publish(ROWS - 1)
    for keep in (False, False, True, True, True):
        world.finish(0, keep=keep)
    assert world.pool.usage() == {"used": 20, "cached": 60, "free": 47}  # slots 41 to 120
    running = world.reqs[0].prefix_indices.tolist()
    assert min(running) > 80
    world.resize(80)
    assert world.pool.usage() == {"used": 20, "cached": 60, "free": 0}
    assert max(world.reqs[0].prefix_indices.tolist()) <= 40
    world.check()
    world.resize(25)
    assert world.pool.usage() == {"used": 20, "cached": 0, "free": 5}
    world.check()


def test_whole_units_in_a_number_of_bytes() -> None:
    pool = World(LARGEST).pool
    size = pool.unit_bytes
    assert size == UNIT * (2 * 3 + 2 * 5) * 8
    assert [pool.tokens_in(x) for x in (0, size - 1, size, 3 * size, 99 * size)] == [
        0, 0, UNIT - 1, 3 * UNIT - 1, LARGEST,
    ]  # fmt: skip
    assert pool.bytes_at(UNIT - 1) == size and pool.bytes_at(UNIT) == 2 * size


@given(st.tuples(st.integers(8, 90), st.integers(8, 90)), st.sampled_from([1, 2, 3]))
def test_new_pools_take_no_more_memory_than_they_were_given(
    tokens: tuple[int, int], heads: int
) -> None:
    """Mapping whole units, both would: two of them, 5 % of what a 24 GB card leaves for KV."""
    given_bytes = spare = units = mapped = 0
    for size, rows in zip(tokens, (2, heads), strict=True):
        backing = PlainBacking([(LARGEST + 1, rows, 4)] * 2, torch.float32, "cpu", UNIT)
        backing.map(size + 1)
        allocator = TokenToKVPoolAllocator(size, torch.float32, "cpu", None, False)
        runner = SimpleNamespace(
            token_to_kv_pool_allocator=allocator,
            token_to_kv_pool=SimpleNamespace(size=size, mem_usage=0.0),
            memory_pool_config=SimpleNamespace(max_total_num_tokens=size),
            max_total_num_tokens=size,
        )
        spare = to_whole_units(runner, backing, spare)
        assert allocator.available_size() == allocator.size == runner.max_total_num_tokens
        assert backing.rows == allocator.size + 1
        given_bytes += (size + 1) * backing.row_bytes
        units, mapped = max(units, UNIT * backing.row_bytes), mapped + backing.mapped_bytes
    assert mapped + spare == given_bytes
    assert 0 <= spare < units


def test_graphs_are_captured_with_the_bound_of_the_largest_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an H200 a pool that had grown failed an assertion of the kernel that writes KV: the
    decode graphs had been captured with the bound of the pool's first size.
    """
    pool = memory_pool.MHATokenToKVPool(
        size=100,
        page_size=1,
        dtype=torch.float32,
        head_num=1,
        head_dim=4,
        layer_num=1,
        device="cpu",
        enable_memory_saver=False,
    )
    bounds = []
    monkeypatch.setattr(
        memory_pool, "_set_kv_buffer_impl", lambda *_, size_limit, **__: bounds.append(size_limit)
    )
    backing = PlainBacking([(301, 1, 4)], torch.float32, "cpu")
    runner = SimpleNamespace(token_to_kv_pool=pool, max_total_num_tokens=100)
    key = torch.zeros(1, 1, 4)
    where = KVWriteLoc(torch.ones(1, dtype=torch.int64), None)
    with at_largest(runner, backing):
        assert runner.max_total_num_tokens == 300
        pool.set_kv_buffer(SimpleNamespace(layer_id=0), where, key, key)
    pool.set_kv_buffer(SimpleNamespace(layer_id=0), where, key, key)
    assert bounds == [301, 101]
    assert runner.max_total_num_tokens == 100
