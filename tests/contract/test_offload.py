"""KV that leaves SGLang's cache and comes back, on its own pool and radix cache without a model."""

import logging
import zlib
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
from sglang.srt.mem_cache.radix_cache import RadixCache, RadixKey

from fasttts_sglang.runtime import host_memory, offload_build, offload_hooks
from fasttts_sglang.runtime.host_memory import HostMemory
from fasttts_sglang.runtime.live_paths import LivePaths
from fasttts_sglang.runtime.offload import Offload
from fasttts_sglang.runtime.prefixes import look_up
from fasttts_sglang.scheduling.retention import LivePath

Ids = tuple[int, ...]
LAYERS = 2


class Cache(RadixCache):
    """With our hooks applied."""

    def _delete_leaf(self, node: Any) -> None:
        offload_hooks.leaves(self, node)
        super()._delete_leaf(node)

    def evict(self, params: EvictParams) -> Any:
        result = super().evict(params)
        offload_hooks.save(result, self, params)
        return result


class Searches(LivePaths):
    """Live paths that a test sets."""

    def __init__(self) -> None:
        self.live: dict[Ids, float] = {}
        self.turn = 0

    def rounds(self) -> tuple[Any, ...]:
        return (self.turn,) if self.live else ()

    state = rounds

    def paths(self) -> Iterator[LivePath]:
        for number, (ids, worth) in enumerate(self.live.items()):
            yield LivePath(str(number), (), array("q", ids), worth)

    def now(self, live: dict[Ids, float]) -> None:
        self.live, self.turn = live, self.turn + 1


class Model:
    """A generator's cache: `compute` fills it as prefills do, `check` looks at every token."""

    def __init__(self, size: int, host_rows: int) -> None:
        self.pool = MHATokenToKVPool(
            size=size,
            page_size=1,
            dtype=torch.float32,
            head_num=1,
            head_dim=2,
            layer_num=LAYERS,
            device="cpu",
            enable_memory_saver=False,
        )
        self.allocator = TokenToKVPoolAllocator(size, torch.float32, "cpu", self.pool, False)
        self.size = size
        self.tree = Cache(
            CacheInitParams(
                disable=False,
                req_to_token_pool=None,
                token_to_kv_pool_allocator=self.allocator,
                page_size=1,
            )
        )
        self.searches = Searches()
        self.buffers = [*self.pool.k_buffer, *self.pool.v_buffer]
        memory = HostMemory(self.buffers, host_rows)
        self.memory = memory
        self.offload = Offload("generator", self.tree, memory, self.searches)

    def compute(self, ids: Ids) -> int:
        """Prefill what is not cached; returns how many tokens that are."""
        found = self.tree.match_prefix(MatchPrefixParams(key=key(ids)))
        self.tree.inc_lock_ref(found.last_device_node)
        have = len(found.device_indices)
        missing = len(ids) - have
        short = missing - self.allocator.available_size()
        if short > 0:
            self.tree.evict(EvictParams(num_tokens=short))
        slots = self.allocator.alloc(missing)
        if slots is not None:
            for at, slot in enumerate(slots.tolist(), have):
                for layer, buffer in enumerate(self.buffers):
                    buffer[slot] = content(ids[: at + 1], layer)
            value = torch.cat((found.device_indices, slots))
            self.tree.insert(InsertParams(key=key(ids), value=value))
        self.tree.dec_lock_ref(found.last_device_node)
        return missing

    def check(self) -> None:
        """Every cached token has its own KV, and no slot is lost."""
        cached = 0
        waiting: list[tuple[Any, Ids]] = [(self.tree.root_node, ())]
        while waiting:
            node, before = waiting.pop()
            ids = (*before, *node.key.token_ids)
            for at, slot in enumerate(list(node.value), len(before)):
                for layer, buffer in enumerate(self.buffers):
                    assert (buffer[slot] == content(ids[: at + 1], layer)).all()
            cached += len(node.key)
            waiting += [(child, ids) for child in node.children.values()]
        assert cached == self.tree.evictable_size()
        assert cached + self.allocator.available_size() == self.size


def key(ids: Ids) -> RadixKey:
    return RadixKey(array("q", ids), None)


def content(ids: Ids, layer: int) -> float:
    """What the KV of the last of `ids` is taken to be."""
    return float(zlib.crc32(repr((ids, layer)).encode()) % 100_003)


sequences = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.dictionaries(sequences, st.floats(0, 2), max_size=5)),
        st.tuples(st.just("compute"), sequences),
        st.tuples(st.just("restore"), sequences, st.integers(0, 4)),
        st.tuples(st.just("evict"), st.integers(1, 10)),
    ),
    min_size=5,
    max_size=40,
)


@given(st.integers(8, 14), st.integers(0, 14), steps)
def test_whatever_is_moved_a_token_has_its_own_kv(
    size: int, host_rows: int, actions: list[tuple[Any, ...]]
) -> None:
    model = Model(size, host_rows)
    for name, *args in actions:
        if name == "live":
            model.searches.now(args[0])
            model.offload.forget_dead()
        elif name == "compute":
            model.compute(args[0])
        elif name == "evict":
            model.tree.evict(EvictParams(num_tokens=args[0]))
        else:
            ids, reserve = args
            before = look_up(model.tree, array("q", ids)).total
            restored = model.offload.restore(array("q", ids), len(ids), reserve)
            assert look_up(model.tree, array("q", ids)).total == before + restored
        model.check()
        assert not model.offload._broken
        held = model.offload.status()["held_bytes"]
        assert held <= model.memory.allocated_bytes <= host_rows * model.memory.row_bytes
    model.searches.now({})
    model.offload.forget_dead()
    status = model.offload.status()
    assert (status["held_bytes"], status["allocated_bytes"]) == (0, 0)


PATHS: dict[Ids, float] = {(1, 2, 3, 4): 1.0, (1, 2, 5, 6): 0.5}


def away(model: Model) -> None:
    """Both paths are live and evicted."""
    model.searches.now(PATHS)
    for ids in PATHS:
        model.compute(ids)
    model.tree.evict(EvictParams(num_tokens=10))
    assert model.tree.evictable_size() == 0


def test_what_is_live_needs_not_be_computed_again() -> None:
    model = Model(8, 100)
    model.compute((7, 8))  # an ordinary request's
    away(model)
    assert model.offload.saved_tokens == 6
    for ids in PATHS:
        restored = model.offload.restore(array("q", ids), len(ids))
        assert (restored, model.compute(ids)) == (4 if ids[2] == 3 else 2, 0)
    model.check()
    model.tree.evict(EvictParams(num_tokens=10))
    assert model.offload.saved_tokens == 6  # they are there still


def test_what_was_just_let_go_of_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are ended and forked within one free group, whose slots are free at its end only."""
    model = Model(4, 100)
    away(model)
    model.allocator.free_group_begin()
    for ids in PATHS:  # each takes the whole pool
        assert model.offload.restore(array("q", ids), len(ids)) > 0
        assert not model.allocator.is_not_in_free_group
    model.allocator.free_group_end()
    model.check()


def test_rows_lie_in_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "SLAB_BYTES", 3 * 4 * LAYERS * 2 * 2)
    monkeypatch.setattr(host_memory, "_CHUNK", 2)
    model = Model(8, 5)
    away(model)
    # their common prefix drove out what is worth least, and took its rows in both slabs
    assert model.offload.status()["held_bytes"] == 4 * model.memory.row_bytes
    assert model.offload.restore(array("q", (1, 2, 3, 4)), 4) == 4
    assert model.offload.restore(array("q", (1, 2, 5, 6)), 4) == 0
    model.check()


def test_without_host_memory_kv_is_computed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model(8, 100)

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: out of memory")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(host_memory.torch, "empty", refuse)
        away(model)
        away(model)
    (warning,) = caplog.messages  # said once
    assert "host offload of the generator stays at 0 MiB" in warning
    assert model.offload.restore(array("q", (1, 2, 3, 4)), 4) == 0
    assert model.compute((1, 2, 3, 4)) == 4
    model.check()
    model.searches.now({})  # when the searches have ended, it is tried again
    model.offload.forget_dead()
    away(model)
    assert model.offload.restore(array("q", (1, 2, 3, 4)), 4) == 4


def test_a_failed_copy_switches_it_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model(8, 100)
    away(model)

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(model.memory, "load", fail)
    with caplog.at_level("WARNING"):  # an engine that was booted in this process has set another
        assert model.offload.restore(array("q", (1, 2, 3, 4)), 4) == 0
    assert "host offload of the generator is off" in caplog.text
    model.check()
    assert model.compute((1, 2, 3, 4)) == 4
    away(model)
    assert model.offload.status()["allocated_bytes"] == 0


def test_what_cannot_be_copied_is_named() -> None:
    model = Model(8, 0)
    assert offload_build._obstacle(model.tree) == "its KV is kept in a Cache"
    model.tree.__class__ = RadixCache
    assert offload_build._obstacle(model.tree) is None
    model.pool.use_hnd = True
    assert "layout" in str(offload_build._obstacle(model.tree))
    model.tree.disable = True
    assert "off" in str(offload_build._obstacle(model.tree))
