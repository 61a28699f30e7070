"""The backing on a CPU: ordinary tensors. What is mapped is only counted."""

from collections.abc import Sequence

import torch

from .backing import Backing, Shape

UNIT = 256


class PlainBacking(Backing):
    """Buffers of full size; the operating system gives a page when it is first written."""

    def __init__(
        self, shapes: Sequence[Shape], dtype: torch.dtype, device: str, unit: int = UNIT
    ) -> None:
        super().__init__(shapes, dtype, unit)
        self.tensors = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
