"""Moving KV to other slots, and rewriting every place that names a slot.

Slots are named by the allocator's free list, the nodes of the radix tree, the rows of the request
table, and `prefix_indices` of requests. Between two batches nothing else names one: `out_cache_loc`
of a batch is set when it is prepared and read by its forward alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import InsufficientMemory

_CHUNK = 1 << 22  # entries of the request table that are rewritten at a time


@dataclass(frozen=True, slots=True)
class Move:
    """Where used slots above a capacity go.

    Attributes:
        source, target: [moved] int64.
        free: [left] int64, the free slots that remain.
    """

    source: torch.Tensor
    target: torch.Tensor
    free: torch.Tensor

    @classmethod
    def below(cls, capacity: int, allocator: Any) -> "Move":
        """Slots 1 to `capacity` stay. What is used above takes free ones from below.

        Raises:
            InsufficientMemory: More is in use than fits.
        """
        free = torch.cat((allocator.free_pages, allocator.release_pages))
        low = free[free <= capacity]
        used = torch.ones(allocator.size - capacity, dtype=torch.bool, device=free.device)
        used[free[free > capacity] - capacity - 1] = False
        source = used.nonzero().flatten() + capacity + 1
        count = len(source)
        if count > len(low):
            raise InsufficientMemory(
                f"{count - len(low)} tokens of KV in use do not fit into {capacity}", missing=0
            )
        return cls(source, low[:count].clone(), low[count:].clone())

    def new_slots(self, capacity: int, largest: int) -> torch.Tensor:
        """[largest + 1] int64: the new slot of each old one; 0 where there is none any more."""
        table = torch.zeros(largest + 1, dtype=torch.int64, device=self.source.device)
        torch.arange(capacity + 1, out=table[: capacity + 1])
        table[self.source] = self.target
        return table


class Rewrite:
    """A renaming of slots in a tree, a request table and requests.

    All memory is taken here, so that `commit` cannot fail half-way.

    Args:
        new_slots: [slots] int64, the new slot of each old one.
        tree: A RadixCache.
        table: [rows, max_context_len] int32. Rows that are free are rewritten too: padded rows of
            a CUDA graph read row 0, and kernels may read entries behind a row's end.
        reqs: Requests whose `prefix_indices` are still to be used.
    """

    def __init__(
        self, new_slots: torch.Tensor, tree: Any, table: torch.Tensor, reqs: Iterable[Any]
    ) -> None:
        self._table = table.view(-1)
        self._new_slots = new_slots.to(table.dtype)
        self._scratch = torch.empty(
            min(_CHUNK, table.numel()), dtype=table.dtype, device=table.device
        )
        owners = [(node, "value") for node in _nodes(tree)]
        owners += [
            (req, "prefix_indices")
            for req in reqs
            if len(req.prefix_indices) and req.prefix_indices.device == new_slots.device
        ]
        old = [getattr(owner, name) for owner, name in owners]
        new = new_slots[torch.cat(old)].split([len(each) for each in old]) if old else ()
        self._changes = [(*owner, each.clone()) for owner, each in zip(owners, new, strict=True)]

    def commit(self) -> None:
        """Do it."""
        for chunk in self._table.split(_CHUNK):
            scratch = self._scratch[: len(chunk)]
            torch.index_select(self._new_slots, 0, chunk, out=scratch)
            chunk.copy_(scratch)
        for owner, name, value in self._changes:
            setattr(owner, name, value)


def _nodes(tree: Any) -> Iterator[Any]:
    """All nodes of a RadixCache but its root, which holds no KV."""
    waiting = list(tree.root_node.children.values())
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children.values())
