"""The memory of a KV pool: address space for the largest size, physical memory for some of it."""

import math
from collections.abc import Sequence

import torch

CHUNK = 8192  # rows that `copy` moves at a time: bounds its temporary memory

Shape = tuple[int, int, int]
"""Rows (one per token slot), heads, head size."""


class Backing:
    """The buffers of one pool, one per layer for keys and one for values.

    Only the first `rows` rows of every buffer may be touched. The tensors never move, so what has
    captured their addresses stays valid.

    Args:
        shapes: Of the buffers at their largest.
        dtype: Of their elements.
        unit: Rows that are mapped together, in all buffers at once.
    """

    tensors: list[torch.Tensor]

    def __init__(self, shapes: Sequence[Shape], dtype: torch.dtype, unit: int) -> None:
        self.widths = [math.prod(shape[1:]) * dtype.itemsize for shape in shapes]  # bytes per row
        self.row_bytes = sum(self.widths)
        self.unit = unit
        self.largest = shapes[0][0]
        self.rows = 0

    @property
    def mapped_bytes(self) -> int:
        """Physical memory in use."""
        return self.rows * self.row_bytes

    def bytes_for(self, rows: int) -> int:
        """Physical memory that `rows` rows take."""
        return self._whole(rows) * self.row_bytes

    def map(self, rows: int) -> None:
        """Back at least the first `rows` rows. Raises without effect if there is no memory."""
        if (wanted := self._whole(rows)) > self.rows:
            self._map(self.rows, wanted)
            self.rows = wanted

    def unmap(self, rows: int) -> None:
        """Give up what is not needed for the first `rows` rows; nothing may be using it."""
        if (wanted := self._whole(rows)) < self.rows:
            self._unmap(wanted, self.rows)
            self.rows = wanted

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy rows.

        Args:
            source, target: [rows] int64, with no row in common.
        """
        for some, where in zip(source.split(CHUNK), target.split(CHUNK), strict=True):
            for tensor in self.tensors:
                tensor.index_copy_(0, where, tensor.index_select(0, some))

    def settle(self) -> None:
        """Give physical memory that no pool has back to the device."""

    def _whole(self, rows: int) -> int:
        return -(-rows // self.unit) * self.unit

    def _map(self, begin: int, end: int) -> None:
        """Back rows [begin, end), both multiples of `unit`."""

    def _unmap(self, begin: int, end: int) -> None:
        """The reverse."""
