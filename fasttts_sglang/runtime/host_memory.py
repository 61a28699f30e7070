"""Rows of KV on the host: one per token, all layers side by side. Pinned beside a GPU."""

from array import array
from collections.abc import Iterator, Sequence

import torch

SLAB_BYTES = 64 << 20  # taken from the host at a time
_CHUNK = 256  # tokens that are copied at a time, so that little of the device's memory is needed


class HostMemory:
    """Copies KV between a pool and slabs of host memory, on the current stream.

    Nothing waits for a copy: what is copied here is read by later copies of the same stream alone.

    Args:
        buffers: The pool's, each [slots, heads, dimension].
        limit: Most rows there may be.
    """

    def __init__(self, buffers: Sequence[torch.Tensor], limit: int) -> None:
        self._buffers = [buffer.view(len(buffer), -1) for buffer in buffers]
        self._widths = [buffer.shape[1] for buffer in self._buffers]
        self.row_bytes = sum(self._widths) * buffers[0].itemsize
        self._limit = limit
        self._slab_rows = max(1, SLAB_BYTES // self.row_bytes)
        self._slabs: list[torch.Tensor] = []

    @property
    def allocated_bytes(self) -> int:
        """Host memory that is taken."""
        return sum(map(len, self._slabs)) * self.row_bytes

    def grow(self) -> int:
        """Take another slab, within the limit; returns how many rows it has.

        Raises:
            RuntimeError: The host has no memory.
        """
        rows = min(self._slab_rows, self._limit - sum(map(len, self._slabs)))
        if rows > 0:
            like = self._buffers[0]
            shape = rows, sum(self._widths)
            self._slabs.append(torch.empty(shape, dtype=like.dtype, pin_memory=like.is_cuda))
        return max(0, rows)

    def clear(self) -> None:
        """Give all of it back."""
        self._slabs.clear()

    def save(self, source: torch.Tensor, rows: "array[int]") -> None:
        """Copy the pool's slots `source` to `rows`."""
        for slots, some in self._chunks(source, rows):
            found = torch.cat([buffer.index_select(0, slots) for buffer in self._buffers], dim=1)
            for part, host in self._runs(found, some):
                host.copy_(part, non_blocking=True)

    def load(self, rows: "array[int]", target: torch.Tensor) -> None:
        """Copy `rows` to the pool's slots `target`."""
        like = self._buffers[0]
        for slots, some in self._chunks(target, rows):
            found = like.new_empty(len(slots), sum(self._widths))
            for part, host in self._runs(found, some):
                part.copy_(host, non_blocking=True)
            parts = found.split(self._widths, dim=1)
            for buffer, part in zip(self._buffers, parts, strict=True):
                buffer.index_copy_(0, slots, part)

    @staticmethod
    def _chunks(
        slots: torch.Tensor, rows: "array[int]"
    ) -> Iterator[tuple[torch.Tensor, "array[int]"]]:
        for begin in range(0, len(rows), _CHUNK):
            yield slots[begin : begin + _CHUNK], rows[begin : begin + _CHUNK]

    def _runs(
        self, device: torch.Tensor, rows: "array[int]"
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs of stretches of `device` and of slabs that belong together."""
        begin = 0
        for end in range(1, len(rows) + 1):
            first = rows[begin]
            if end < len(rows) and rows[end] == first + end - begin and rows[end] % self._slab_rows:
                continue
            at = first % self._slab_rows
            slab = self._slabs[first // self._slab_rows]
            yield device[begin:end], slab[at : at + end - begin]
            begin = end
