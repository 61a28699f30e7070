"""What makes one-token steps cheap in transformers: a cache that does not copy, grouped attention.

`DynamicCache` copies all keys and values every step, and masked attention repeats them for every
query head; with thousands of rows these copies are most of the time.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "grouped_decode"


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, allocated once with room for the tokens to come."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, heads, new, dim = key_states.shape
        old = self.keys.shape[-2] if self.is_initialized else 0
        if not self.is_initialized:
            shape = (rows, heads, new + self.room, dim)
            self.all_keys, self.all_values = (
                key_states.new_empty(shape),
                key_states.new_empty(shape),
            )
            self.is_initialized = True
        self.all_keys[:, :, old : old + new] = key_states
        self.all_values[:, :, old : old + new] = value_states
        self._show(old + new)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.all_keys, self.all_values = self.all_keys[indices], self.all_values[indices]
        self._show(self.keys.shape[-2])

    def _show(self, length: int) -> None:
        self.keys, self.values = self.all_keys[:, :, :length], self.all_values[:, :, :length]


def roomy_cache(num_layers: int, room: int) -> Cache:
    """Return an empty cache that takes a prefill and then `room` more tokens."""
    return Cache(layers=[RoomyLayer(room) for _ in range(num_layers)])


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend with one query token per row, the query heads of a group as its matrix rows."""
    rows, heads, length, dim = query.shape
    if length > 1:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out, None
    groups = key.shape[1]
    scores = query.view(rows, groups, heads // groups, dim) @ key.transpose(-1, -2)
    scores = scores.float() * (scaling or dim**-0.5)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    out = scores.softmax(-1).to(value.dtype) @ value
    return out.view(rows, 1, heads, dim), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
