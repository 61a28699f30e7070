"""One model's KV pool, which can grow and shrink between two batches."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams

from ...errors import InsufficientMemory
from .backing import Backing
from .indices import Move, Rewrite


class ElasticPool:
    """A `memory.resize.ResizablePool` over SGLang's pool, allocator, radix tree and request table.

    Nothing may be running on the device, and no batch may be half made.

    Args:
        runner: SGLang's ModelRunner.
        tree: Its RadixCache.
        backing: The memory of its pool.
        set_capacity: Tells all who keep the capacity.
        requests: Requests whose `prefix_indices` are still to be used.
        lane: Entered to launch work: tensors made here die on the stream that uses them.
    """

    def __init__(
        self,
        runner: Any,
        tree: Any,
        backing: Backing,
        set_capacity: Callable[[int], None],
        requests: Callable[[], Iterable[Any]],
        lane: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.backing = backing
        self._allocator = runner.token_to_kv_pool_allocator
        self._tree = tree
        self._rows = runner.req_to_token_pool
        self._set_capacity = set_capacity
        self._requests = requests
        self._lane = lane or nullcontext()

    @property
    def capacity(self) -> int:
        """Tokens it can hold now; slot 0 is for padding and not counted."""
        return int(self._allocator.size)

    @property
    def largest(self) -> int:
        """Tokens it can ever hold."""
        return self.backing.largest - 1

    @property
    def mapped_bytes(self) -> int:
        """Physical memory it has now."""
        return self.backing.mapped_bytes

    @property
    def unit_bytes(self) -> int:
        """Physical memory that is mapped together."""
        return self.backing.unit * self.backing.row_bytes

    def bytes_at(self, capacity: int) -> int:
        """Physical memory it needs for `capacity` tokens."""
        return self.backing.bytes_for(capacity + 1)

    def tokens_in(self, size: int) -> int:
        """Capacity that `size` bytes give, in whole units; at least 0."""
        units = size // self.unit_bytes
        return min(max(0, units * self.backing.unit - 1), self.largest)

    def usage(self) -> dict[str, int]:
        """Tokens by state."""
        free, cached = int(self._allocator.available_size()), int(self._tree.evictable_size())
        return {"used": self.capacity - free - cached, "cached": cached, "free": free}

    def drain(self, capacity: int) -> None:
        """Forget the least recently used cached KV until what is left fits into `capacity`.

        Raises:
            InsufficientMemory: More is in use.
        """
        used = self.usage()["used"]
        if used > capacity:
            raise InsufficientMemory(
                f"{used} tokens of KV are in use and do not fit into {capacity}",
                missing=(used - capacity) * self.backing.row_bytes,
            )
        surplus = self.capacity - self._allocator.available_size() - capacity
        if surplus > 0:
            with self._lane:
                self._tree.evict(EvictParams(num_tokens=surplus))

    def shrink(self, capacity: int) -> None:
        """Move what is used above `capacity` below it, rename it everywhere, unmap the rest.

        Raises:
            InsufficientMemory: What is used does not fit.
            torch.OutOfMemoryError: No temporary memory; nothing has changed.
        """
        assert self._allocator.is_not_in_free_group
        with self._lane:
            move = Move.below(capacity, self._allocator)
            new_slots = move.new_slots(capacity, self.largest)
            rewrite = Rewrite(new_slots, self._tree, self._rows.req_to_token, self._requests())
            self.backing.copy(move.source, move.target)
            rewrite.commit()
            self._allocator.free_pages = move.free
            self._allocator.release_pages = move.free[:0]
        self._resized(capacity)
        self.synchronize()
        self.backing.unmap(capacity + 1)

    def grow(self, capacity: int) -> None:
        """Map memory for `capacity` tokens and hand out the new slots.

        Raises:
            RuntimeError: There is no memory; nothing has changed.
        """
        allocator = self._allocator
        assert allocator.is_not_in_free_group
        device = allocator.free_pages.device
        with self._lane:
            new = torch.arange(allocator.size + 1, capacity + 1, dtype=torch.int64, device=device)
            free = torch.cat((allocator.free_pages, new))
            self.backing.map(capacity + 1)
        allocator.free_pages = free
        self._resized(capacity)

    def _resized(self, capacity: int) -> None:
        self._allocator.size = capacity
        self._set_capacity(capacity)

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        if self.backing.tensors[0].is_cuda:
            torch.cuda.synchronize(self.backing.tensors[0].device)
