"""The verifier's attention on a GPU: many rows of few new tokens, each behind a long prefix.

SGLang's kernel gives every head of a row a tile of 128 tokens, of which a step fills a third, and
starts as many tiles for each row as the longest may need. Here the tokens of a row and all heads
of one KV head fill tiles together, and only tiles that hold something are started.
"""

from typing import Any

import torch
import triton

from .extend_kernel import attend_new
from .usual_layers import is_usual

_TILE = 64  # queries: tokens of a row times heads of a KV head
_BLOCK = 64  # tokens read at once
_ROWS = 256  # a kernel for so many serves fewer, too
_LAUNCH = {"num_warps": 4, "num_stages": 2}
_LOG2_E = 1.4426950408889634
_PLAIN = {
    "logit_cap": 0.0,
    "sliding_window_size": -1,
    "sinks": None,
    "xai_temperature_len": -1,
    "lse_extend": None,
    "skip_prefix": False,
    "skip_extend": False,
    "page_size": 1,
    "score_mod": None,
}


class VerifierAttention:
    """Stands in for the extend kernel of one `TritonAttnBackend`.

    Attributes:
        usual: Whether every layer so far was of the kind that ours serves; others are SGLang's.
    """

    def __init__(self, backend: Any) -> None:
        self._stock = backend.extend_attention_fwd
        self.usual = True
        backend.extend_attention_fwd = torch.compiler.disable(self.extend)

    def extend(
        self,
        q_extend: torch.Tensor,
        k_extend: torch.Tensor,
        v_extend: torch.Tensor,
        o_extend: torch.Tensor,
        k_buffer: torch.Tensor,
        v_buffer: torch.Tensor,
        qo_indptr: torch.Tensor,
        kv_indptr: torch.Tensor,
        kv_indices: torch.Tensor,
        custom_mask: torch.Tensor | None,
        is_causal: bool,
        mask_indptr: torch.Tensor | None,
        max_len_extend: int,
        k_scale: float,
        v_scale: float,
        sm_scale: float,
        **options: Any,
    ) -> None:
        """See SGLang's `extend_attention_fwd`."""
        new = q_extend, k_extend, v_extend, o_extend
        paths = qo_indptr, kv_indptr, kv_indices
        plain = is_causal and custom_mask is None and k_scale == v_scale == 1
        if plain and is_usual(q_extend, v_extend, options, _PLAIN):
            extend_attention(*new, k_buffer, v_buffer, *paths, sm_scale)
            return
        self.usual = False
        mask = custom_mask, is_causal, mask_indptr, max_len_extend
        self._stock(*new, k_buffer, v_buffer, *paths, *mask, k_scale, v_scale, sm_scale, **options)


def extend_attention(
    queries: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    result: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    starts: torch.Tensor,
    path_starts: torch.Tensor,
    indices: torch.Tensor,
    scale: float,
    tile: int = _TILE,
) -> None:
    """Causal attention of rows' new tokens over what is cached of each row, and each other.

    Args:
        queries, result: [tokens, heads, dim]; row i's are those from starts[i] to starts[i + 1].
            What is of no row is left as it is.
        new_keys, new_values: [tokens, KV heads, dim].
        keys, values: [slots, KV heads, dim].
        starts: [rows + 1] int32.
        path_starts: [rows + 1] int32; row i's slots are
            `indices[path_starts[i]:path_starts[i + 1]]`.
        tile: Queries of a program.
    """
    tokens, heads, dim = queries.shape
    kv_heads, rows = new_keys.shape[1], len(starts) - 1
    per_kv_head = heads // kv_heads
    most_tiles = tokens * per_kv_head // tile + rows  # each row's last may be filled in part
    strided = queries, new_keys, new_values, result, keys, values
    attend_new[most_tiles, kv_heads](
        *strided,
        starts,
        path_starts,
        indices,
        scale * _LOG2_E,
        *(stride for one in strided for stride in one.stride()[:2]),
        rows,
        max(_ROWS, triton.next_power_of_2(rows)),
        per_kv_head,
        dim,
        tile,
        _BLOCK,
        **_LAUNCH,
    )
