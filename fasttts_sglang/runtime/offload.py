"""Host offload: KV of live paths that is evicted goes to the host, and back for its row."""

import logging
from array import array
from collections.abc import Callable
from typing import Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey

from ..memory.host_store import HostStore
from .host_memory import HostMemory
from .live_paths import LivePaths
from .prefixes import look_up

logger = logging.getLogger(__name__)


class Offload:
    """One model's KV on the host. All calls come between two batches, on the scheduler's thread.

    A node that leaves the radix cache is copied as far as it is on a live path. Before a row's
    prefix is looked up in the cache, what is missing is copied back and put into it, so that
    everything else goes as if it had never left.

    Args:
        name: The model, for messages.
        tree: Its RadixCache.
        memory: On the host.
        live: What is worth keeping, as this model sees it.
        settle: Called before a copy: the pool must hold what was launched.
    """

    def __init__(
        self,
        name: str,
        tree: Any,
        memory: HostMemory,
        live: LivePaths,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.priority: int | None = None  # of what is put back, see PrefixOrder
        self.saved_tokens = self.restored_tokens = 0  # since the start
        self._name = name
        self._tree = tree
        self._allocator = tree.token_to_kv_pool_allocator
        self._memory = memory
        self._live = live
        self._settle = settle
        self._store = HostStore(self._grow)
        self._leaving: list[Any] = []  # nodes that the cache is just evicting
        self._state: Any = None  # of the live paths at the last look
        self._rounds: Any = None  # the same
        self._full = False  # the host has no more memory
        self._broken = False
        tree.fasttts_offload = self

    def status(self) -> dict[str, int]:
        """For people and metrics."""
        return {
            "held_bytes": self._store.held * self._memory.row_bytes,
            "allocated_bytes": self._memory.allocated_bytes,
            "saved_tokens": self.saved_tokens,
            "restored_tokens": self.restored_tokens,
        }

    # -- away --------------------------------------------------------------------------

    def leaves(self, node: Any) -> None:
        """The cache deletes `node`; its slots are not used again before `save`."""
        if not self._broken and node.key.extra_key is None:
            self._leaving.append(node)

    def save(self) -> None:
        """Copy what has left, as far as it is live."""
        leaving, self._leaving = self._leaving, []
        if not leaving or not self._live.rounds():
            return
        self._guarded(lambda: self._save(leaving))

    def _save(self, leaving: list[Any]) -> None:
        self._look()
        slots, rows = [], array("q")
        for node in leaving:
            ids = _ids(node)
            first = len(ids) - len(node.key)
            for begin, taken in self._store.put(ids, first):
                slots.append(node.value[begin - first : begin - first + len(taken)])
                rows += taken
        if slots:
            self._settle()
            self._memory.save(torch.cat(slots), rows)
            self.saved_tokens += len(rows)

    # -- and back ----------------------------------------------------------------------

    def restore(self, ids: "array[int]", end: int, reserve: int = 0) -> int:
        """Bring KV of ids[:end] into the cache that follows what is there already.

        Args:
            reserve: Tokens for which there must be room beside it; else nothing is brought.

        Returns:
            Tokens copied.
        """
        if not self._store.held:
            return 0
        begin = look_up(self._tree, ids[:end]).total
        if not self._store.find(ids, begin, end):
            return 0
        return self._guarded(lambda: self._restore(ids, begin, end, reserve)) or 0

    def _restore(self, ids: "array[int]", begin: int, end: int, reserve: int) -> int:
        tree, allocator = self._tree, self._allocator
        found = tree.match_prefix(MatchPrefixParams(key=RadixKey(ids[:begin], None)))
        tree.inc_lock_ref(found.last_device_node)
        grouped = not allocator.is_not_in_free_group
        if grouped:  # what is let go of must be there to be taken
            allocator.free_group_end()
        try:
            count = len(self._store.find(ids, begin, end))
            short = count - allocator.available_size()
            if short + reserve > tree.evictable_size():
                return 0
            if short > 0:
                tree.evict(EvictParams(num_tokens=short))
            rows = self._store.find(ids, begin, end)  # making room may have driven out some
            slots = allocator.alloc(len(rows)) if rows else None
            if slots is None:
                return 0
            try:
                self._settle()
                self._memory.load(rows, slots)
            except Exception:
                allocator.free(slots)
                raise
            key = RadixKey(ids[: begin + len(rows)], None)
            value = torch.cat((found.device_indices, slots))
            tree.insert(InsertParams(key=key, value=value, priority=self.priority or 0))
        finally:
            if grouped:
                allocator.free_group_begin()
            tree.dec_lock_ref(found.last_device_node)
        self.restored_tokens += len(rows)
        return len(rows)

    # -- what is live ------------------------------------------------------------------

    def changed(self) -> None:
        """Some row's own tokens are to be kept from now on: look again before the next copy."""
        self._state = None

    def forget_dead(self) -> None:
        """Drop what no search can come back to; all of it when none runs."""
        if not self._store.knows:
            return
        rounds = self._live.rounds()
        if not rounds:
            self._store.clear()
            self._memory.clear()
            self._state, self._full = None, False
        elif self._store.held and rounds != self._rounds:
            self._guarded(self._look)

    def _look(self) -> None:
        state = self._live.state()
        if state != self._state:
            self._state, self._rounds = state, self._live.rounds()
            self._store.keep(self._live.paths())

    def _grow(self) -> int:
        if self._full:
            return 0
        try:
            return self._memory.grow()
        except (RuntimeError, MemoryError) as exc:
            self._full = True
            logger.warning(
                "FastTTS host offload of the %s stays at %d MiB: the host has no more memory: %s",
                self._name,
                self._memory.allocated_bytes >> 20,
                exc,
            )
            return 0

    def _guarded(self, act: Callable[[], int | None]) -> int | None:
        """Nothing of this may reach the batch loop; without it, KV is computed again."""
        try:
            return act()
        except Exception:
            self._broken = True
            self._store.clear()
            self._memory.clear()
            logger.warning("FastTTS host offload of the %s is off", self._name, exc_info=True)
            return None


def _ids(node: Any) -> "array[int]":
    """The tokens up to the end of `node`."""
    keys = []
    while node.parent is not None:
        keys.append(node.key.token_ids)
        node = node.parent
    ids = array("q")
    for key in reversed(keys):
        ids += key
    return ids
