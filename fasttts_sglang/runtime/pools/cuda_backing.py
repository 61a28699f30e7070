"""The backing on a GPU: reserved addresses, of which the first part is mapped."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from .backing import Backing, Shape
from .cuda_driver import DriverError, Granules, call


def granules(device: torch.device) -> Granules:
    """The physical memory that all KV pools of a device share."""
    index = torch.cuda.current_device() if device.index is None else device.index
    return _granules(index)


@functools.cache
def _granules(index: int) -> Granules:
    return Granules(torch.device("cuda", index))


class CudaBacking(Backing):
    """Buffers at addresses reserved for their largest size.

    Args:
        granules: Where physical memory comes from.
        rows: Rows to map at once: tensors are made of memory that is there.
    """

    def __init__(
        self, shapes: Sequence[Shape], dtype: torch.dtype, granules: Granules, rows: int
    ) -> None:
        widths = {math.prod(shape[1:]) * dtype.itemsize for shape in shapes}
        super().__init__(shapes, dtype, _unit(granules.size, widths))
        self._granules = granules
        self._spans = [self._whole(self.largest) * width for width in self.widths]
        self._addresses = [
            int(call("cuMemAddressReserve", span, granules.size, 0, 0)) for span in self._spans
        ]
        self._mapped: list[list[Any]] = [[] for _ in shapes]
        self.tensors: list[torch.Tensor] = []
        self.map(rows)
        self.tensors = [
            _tensor(address, shape, dtype, granules.device)
            for address, shape in zip(self._addresses, shapes, strict=True)
        ]
        self._clear(0, self.rows)

    def settle(self) -> None:
        """Give physical memory that no pool has back to the device."""
        self._granules.settle()

    def close(self) -> None:
        """Give everything back; the tensors must not be used any more."""
        torch.cuda.synchronize(self._granules.device)
        self.tensors = []
        self.unmap(0)
        for address, span in zip(self._addresses, self._spans, strict=True):
            call("cuMemAddressFree", address, span)
        self._addresses, self._spans = [], []

    def _map(self, begin: int, end: int) -> None:
        grown = 0
        try:
            for address, width, mapped in self._buffers():
                self._extend(address, (end - begin) * width, mapped)
                grown += 1
        except DriverError:
            for address, width, mapped in self._buffers()[:grown]:
                self._cut(address, (end - begin) * width, mapped)
            raise
        self._clear(begin, end)

    def _unmap(self, begin: int, end: int) -> None:
        for address, width, mapped in self._buffers():
            self._cut(address, (end - begin) * width, mapped)

    def _buffers(self) -> list[tuple[int, int, list[Any]]]:
        """Address, bytes per row, and the granules mapped, in order."""
        return list(zip(self._addresses, self.widths, self._mapped, strict=True))

    def _extend(self, address: int, num_bytes: int, mapped: list[Any]) -> None:
        new = self._granules.take(num_bytes // self._granules.size)
        try:
            self._granules.map(address + len(mapped) * self._granules.size, new)
        except DriverError:
            self._granules.give(new)
            raise
        mapped += new

    def _cut(self, address: int, num_bytes: int, mapped: list[Any]) -> None:
        count = num_bytes // self._granules.size
        kept = len(mapped) - count
        self._granules.unmap(address + kept * self._granules.size, count)
        self._granules.give(mapped[kept:])
        del mapped[kept:]

    def _clear(self, begin: int, end: int) -> None:
        """As SGLang's own pools begin with: no NaN that a masked read could spread."""
        for tensor in self.tensors:
            tensor[begin:end].zero_()


def _unit(granule: int, widths: set[int]) -> int:
    """Fewest rows that fill whole granules in buffers of all these bytes per row."""
    return math.lcm(*(granule // math.gcd(granule, width) for width in widths))


class _Memory:
    """An address as something that torch makes a tensor of."""

    def __init__(self, address: int, num_bytes: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (num_bytes,),
            "typestr": "|u1",
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


def _tensor(address: int, shape: Shape, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    num_bytes = math.prod(shape) * dtype.itemsize
    flat = torch.as_tensor(_Memory(address, num_bytes), device=device)
    if flat.data_ptr() != address or flat.numel() != num_bytes:
        raise DriverError(
            f"torch made a tensor of {flat.numel()} bytes at {flat.data_ptr():#x} of memory with"
            f" {num_bytes} at {address:#x}"
        )
    return flat.view(dtype).view(shape)
