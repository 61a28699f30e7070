"""Attention on a CPU, batched over the rows of a batch.

SGLang's torch_native backend calls torch once per row and layer, and an extend recomputes the
queries of the whole cached prefix. A search decodes many short rows and extends many by one token,
so nearly all of its time went there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

_LARGEST = 1 << 22  # padded query-key pairs per call: bounds the memory of its mask


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose attention is one call, in every layer; all indices."""

    rows: int
    queries: torch.Tensor  # [rows * queries] place of each new token in the flat batch
    slots: torch.Tensor  # [rows * keys] KV slot of each token; 0 behind a row's end
    visible: torch.Tensor  # [rows, 1, queries, keys] causal mask


def plan_batch(_none: None, backend: Any, forward_batch: Any) -> None:
    """AFTER TorchNativeAttnBackend.init_forward_metadata: what all layers have in common."""
    seq_lens, rows = forward_batch.seq_lens, forward_batch.req_pool_indices
    new_lens = forward_batch.extend_seq_lens
    if forward_batch.forward_mode.is_decode() or new_lens is None:
        new_lens = torch.ones_like(seq_lens)
    backend.fasttts_plan = plan(backend.req_to_token_pool.req_to_token[rows], seq_lens, new_lens)


def attend(
    stock: Callable[..., torch.Tensor],
    backend: Any,
    query: torch.Tensor,
    output: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    *rows: Any,
    scaling: float | None = None,
    **options: Any,
) -> torch.Tensor:
    """AROUND TorchNativeAttnBackend._run_sdpa_forward_decode and .._extend.

    Plain causal self-attention is ours; all else is left to SGLang.
    """
    encoder_lens = rows[-1]
    decoding = len(rows) == 4  # an extend also has the lengths of prefixes and new tokens
    if (
        encoder_lens is not None
        or not (decoding or options.get("causal"))
        or options.get("is_cross_attn")
        or options.get("sliding_window_size") is not None
        or query.dtype != k_cache.dtype
    ):
        return stock(backend, query, output, k_cache, v_cache, *rows, scaling=scaling, **options)
    for group in backend.fasttts_plan:
        _attend_group(group, query, output, k_cache, v_cache, scaling)
    return output


def plan(tokens: torch.Tensor, seq_lens: torch.Tensor, new_lens: torch.Tensor) -> list[Group]:
    """Group the rows of a batch.

    Args:
        tokens: [rows, at least max(seq_lens)] KV slot of every token of every row.
        seq_lens: [rows] tokens of a row, new ones included.
        new_lens: [rows] how many of them are new; at least 1.
    """
    starts = new_lens.cumsum(0) - new_lens
    parts = _split(new_lens.tolist(), seq_lens.tolist())
    return [_group(torch.tensor(part), tokens, seq_lens, new_lens, starts) for part in parts]


def _group(
    rows: torch.Tensor,
    tokens: torch.Tensor,
    seq_lens: torch.Tensor,
    new_lens: torch.Tensor,
    starts: torch.Tensor,
) -> Group:
    length, new = seq_lens[rows, None], new_lens[rows, None]
    # a row with fewer new tokens repeats its last one; the result goes to the same place again
    query_at = torch.minimum(torch.arange(int(new.max())), new - 1)
    key_at = torch.arange(int(length.max()))
    slots = tokens[rows, : len(key_at)].masked_fill(key_at >= length, 0)  # a stale one may be NaN
    visible = key_at <= (length - new + query_at)[:, :, None]
    queries = (starts[rows, None] + query_at).flatten()
    return Group(len(rows), queries, slots.flatten(), visible[:, None])


def _attend_group(
    group: Group,
    query: torch.Tensor,
    output: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    scaling: float | None,
) -> None:
    """Write `output` at the group's queries.

    Args:
        query: [tokens, heads, head_dim], the flat batch.
        output: Like `query`, with the values' head_dim.
        k_cache, v_cache: [slots, kv_heads, head_dim].
    """
    rows, count = group.rows, len(group.queries) // group.rows
    kv_heads = k_cache.shape[1]
    shared = query.shape[1] // kv_heads  # query heads per KV head: rows of one matrix
    q = query.index_select(0, group.queries).view(rows, count, kv_heads, shared, -1)
    out = scaled_dot_product_attention(
        q.permute(0, 2, 3, 1, 4).flatten(2, 3),
        _gather(k_cache, group.slots, rows, 0),
        _gather(v_cache, group.slots, rows, 1),
        attn_mask=group.visible.repeat(1, 1, shared, 1),
        scale=scaling,
    )
    out = out.unflatten(2, (shared, count)).permute(0, 3, 1, 2, 4)
    output.index_copy_(0, group.queries, out.reshape(rows * count, *output.shape[1:]))


_scratch: dict[tuple[int, torch.dtype], torch.Tensor] = {}


def _gather(cache: torch.Tensor, slots: torch.Tensor, rows: int, which: int) -> torch.Tensor:
    """Return `cache` at `slots`, [rows, kv_heads, keys, head_dim], valid until the next call.

    Into memory that is kept: fresh pages cost more than the copy.
    """
    width = cache[0].numel()
    kept = _scratch.get((which, cache.dtype))
    if kept is None or kept.numel() < len(slots) * width:
        kept = cache.new_empty(len(slots) * width * 3 // 2)
        _scratch[which, cache.dtype] = kept
    out = kept[: len(slots) * width].view(len(slots), width)
    torch.index_select(cache.flatten(1), 0, slots, out=out)
    return out.view(rows, -1, *cache.shape[1:]).transpose(1, 2)


def _split(new_lens: Sequence[int], seq_lens: Sequence[int]) -> Iterator[list[int]]:
    """Split row indices into groups of similar numbers of new tokens, to pad little."""
    part: list[int] = []
    longest = 0
    for row in sorted(range(len(new_lens)), key=lambda row: (new_lens[row], seq_lens[row])):
        longest = max(longest, seq_lens[row])
        uneven = part and new_lens[row] > 2 * new_lens[part[0]] + 8
        if uneven or (part and (len(part) + 1) * new_lens[row] * longest > _LARGEST):
            yield part
            part, longest = [], seq_lens[row]
        part.append(row)
    if part:
        yield part
