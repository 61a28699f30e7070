"""KV of paths in SGLang's radix tree, entered at a node that is known instead of at the root.

SGLang looks a request up by all its tokens. A search knows where its paths end: a step's KV goes
below its parent's node, and children begin there. So the work per step grows with the step, not
with the path, and takes few operators on the device.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from sglang.srt.mem_cache.base_prefix_cache import MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey

from .prefixes import is_cached


class KvEnd(NamedTuple):
    """Where the KV of a path ends in the radix tree. It may have been evicted since."""

    node: Any  # SGLang's TreeNode; one that is split stays the end
    length: int  # tokens from the root


class KvPaths:
    """The radix tree, KV index and allocator of one model; pages have one token."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._index = tree.req_to_token_pool
        self._allocator = tree.token_to_kv_pool_allocator

    @contextmanager
    def freeing_together(self) -> Iterator[None]:
        """Slots that are let go of meanwhile are free at its end, all by one operator."""
        self._allocator.free_group_begin()
        try:
            yield
        finally:
            self._allocator.free_group_end()

    def find(self, ids: Any, limit: int | None = None) -> KvEnd:
        """Where the cached part of `ids` ends, of which the first `limit` are looked at."""
        key = RadixKey(ids, None, limit=limit)
        found = self._tree.match_prefix(MatchPrefixParams(key=key))
        return KvEnd(found.last_device_node, len(found.device_indices))

    def slots(self, end: KvEnd | None) -> torch.Tensor | None:
        """[length] int64 KV slots of the path; None if there is none or a part was evicted."""
        if end is None or end.length == 0:
            return None
        values, node, root, now = [], end.node, self._tree.root_node, time.monotonic()
        while node is not root:
            if not is_cached(node):
                return None
            node.last_access_time = now
            values.append(node.value)
            node = node.parent
        return torch.cat(values[::-1])

    def hold(self, req: Any, end: KvEnd, slots: torch.Tensor) -> None:
        """Let `req` use the KV of `slots`, a path down to `end` or to the token before it.

        With the last token, though it will be computed again: else its node would be split.
        """
        req.prefix_indices = slots
        req.last_node = end.node
        req.cache_protected_len = len(slots)
        self._tree.inc_lock_ref(end.node)
        req.fasttts_kv = end

    def update(
        self, extend: Sequence[tuple[Any, int]], release: Sequence[tuple[Any, int | None]] = ()
    ) -> tuple[list[KvEnd], list[KvEnd]]:
        """Bring tokens of running requests into the tree, with one look at the index for all.

        Args:
            extend: Requests that go on, and how many of their first tokens are there to stay.
            release: Requests that end; None: what is not in the tree yet is let go.

        Returns:
            Where they end in the tree then.

        Source: what `RadixCache.cache_unfinished_req` does below the node that a request has
        locked, and what is left of `release_kv_cache` once all is in the tree.
        """
        spans = [
            (req.req_pool_idx, min(req.cache_protected_len, length), length)
            for req, length in extend
        ]
        spans += [(r.req_pool_idx, r.cache_protected_len, r.kv_committed_len) for r, _ in release]
        slots = iter(self._look_up(spans))
        extended = [self._insert(req, length, next(slots)) for req, length in extend]
        released = [self._let_go(req, length, next(slots)) for req, length in release]
        return extended, released

    def _insert(self, req: Any, length: int, slots: torch.Tensor, *, goes_on: bool = True) -> KvEnd:
        """Insert `slots`, those of `req` from what the tree had of it on to `length`.

        Args:
            goes_on: Whether its row of the index will be read again.
        """
        node, held = req.last_node, req.cache_protected_len
        known = getattr(req, "fasttts_kv", None)
        begin = known.length if known is not None and known.node is node else held
        if length <= held:
            return KvEnd(node, begin)
        twice = min(begin, length) - held  # a fork has computed its first token again
        if twice > 0:
            self._allocator.free(slots[:twice])
            if goes_on:
                place = (req.req_pool_idx, slice(held, held + twice))
                self._index.write(place, node.value[-twice:])
        if length > begin:
            key = RadixKey(self._ids(req, begin, length), req.extra_key)
            priority = getattr(req, "priority", 0) or 0
            same, end = self._tree._insert_helper(node, key, slots[twice:], priority)
            if same:  # another row has computed that too
                self._allocator.free(slots[twice : twice + same])
                if goes_on:
                    theirs = self._between(node, end)[:same]
                    self._index.write((req.req_pool_idx, slice(begin, begin + same)), theirs)
            self._lock_below(node, end)
            req.last_node, begin = end, length
        req.cache_protected_len = length
        req.fasttts_kv = KvEnd(req.last_node, begin)
        return req.fasttts_kv

    def _let_go(self, req: Any, length: int | None, slots: torch.Tensor) -> KvEnd:
        """End `req`; `slots` are all that the tree does not have of it."""
        held = req.cache_protected_len
        keep = held if length is None else max(held, min(length, req.kv_committed_len))
        end = self._insert(req, keep, slots[: keep - held], goes_on=False)
        if len(slots) > keep - held:
            self._allocator.free(slots[keep - held :])
        self._tree.dec_lock_ref(req.last_node)
        self._index.free(req)
        req.kv = None
        return end

    @staticmethod
    def _between(node: Any, end: Any) -> torch.Tensor:
        """Slots of the path below `node` down to `end`."""
        values = []
        while end is not node:
            values.append(end.value)
            end = end.parent
        return torch.cat(values[::-1])

    def _look_up(self, spans: Sequence[tuple[int, int, int]]) -> list[torch.Tensor]:
        """Copies of the index's int64 slots: of row, from token, to token."""
        table = self._index.req_to_token
        parts = [table[row, begin:end] for row, begin, end in spans]
        if len(parts) < 2 or not table.is_cuda:
            return [part.to(torch.int64) for part in parts]
        slots = torch.cat(parts).to(torch.int64)
        return list(slots.split([end - begin for _, begin, end in spans]))

    @staticmethod
    def _ids(req: Any, begin: int, end: int) -> Any:
        prompt = req.origin_input_ids
        if end <= len(prompt):
            return prompt[begin:end]
        if begin >= len(prompt):
            return req.output_ids[begin - len(prompt) : end - len(prompt)]
        return (prompt + req.output_ids)[begin:end]

    def _lock_below(self, node: Any, end: Any) -> None:
        """Move a lock from `node` down to `end`: what is above stays locked as it is."""
        tree = self._tree
        while end is not node:
            if end.lock_ref == 0:
                tree.evictable_size_ -= len(end.key)
                tree.protected_size_ += len(end.key)
            end.lock_ref += 1
            tree._update_leaf_status(end)
            end = end.parent


def cut(req: Any, tree: Any, length: int) -> None:
    """Let go of the KV slots of `req` behind its first `length` tokens.

    The slots are copied: the row of the index that they stand in may be written again before a
    free group of the allocator ends.
    """
    held = req.kv_committed_len
    if held > length:
        slots = tree.req_to_token_pool.req_to_token[req.req_pool_idx, length:held]
        tree.token_to_kv_pool_allocator.free(slots.to(torch.int64))
        req.kv_committed_len = req.kv.kv_allocated_len = length
