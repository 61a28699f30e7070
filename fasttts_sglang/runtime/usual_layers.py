"""Which attention layers our kernels serve; SGLang's stay for all others."""

from collections.abc import Mapping
from typing import Any

import torch


def is_usual(
    queries: torch.Tensor,
    values: torch.Tensor,
    options: Mapping[str, Any],
    plain: Mapping[str, Any],
) -> bool:
    """Whether a layer has heads of one power of two and asks for nothing special.

    Args:
        queries, values: [..., dim].
        options: What SGLang passes to its kernel by name.
        plain: What those options are that ours does not know; one that is not passed is plain.
    """
    dim = queries.shape[-1]
    asks_nothing = all(options.get(name, usual) == usual for name, usual in plain.items())
    return asks_nothing and dim == values.shape[-1] and dim & (dim - 1) == 0 and dim >= 16
