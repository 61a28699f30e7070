"""Decode attention that reads a prefix once for all rows that share it, as Triton kernels.

Rows of a search are siblings: what lies before their own steps are the same KV slots. A kernel that
goes row by row reads these again for each of them. Here the rows of a group are one tile of queries
over the prefix that they share; what is behind it each row reads for itself. Parts are merged by
their log-sum-exp, as in any split-KV decode.

Source: split-KV decode as in FlashDecoding; prefix sharing as in Hydragen (arXiv 2402.05099).
"""

from typing import Any

import torch
import triton

from ..scheduling.prefix_groups import MOST_MEMBERS, MOST_PARTS, WIDTH, most_work
from .attend_kernel import attend_all
from .merge_kernel import merge

TILE = 32  # queries of a group: heads of one KV head times rows
_OWN_TILE = 16  # of a row; the least that a matrix instruction takes
_BLOCK = 32  # tokens read at once; an own part is a multiple of it, as in SGLang's kernel
_SHARED_BLOCK = 64  # the same of a shared part
_LAUNCH = {"num_warps": 4, "num_stages": 2, "maxnreg": 128}
_SHORT = 96  # tokens behind a shared prefix that are not worth cutting


def rows_per_tile(heads_per_kv_head: int) -> int:
    """Rows of a group that fit into one tile.

    >>> [rows_per_tile(heads) for heads in (6, 7, 2, 40)]
    [5, 4, 16, 0]
    """
    return min(TILE // heads_per_kv_head, MOST_MEMBERS)


def decode_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    result: torch.Tensor,
    indptr: torch.Tensor,
    indices: torch.Tensor,
    own_splits: torch.Tensor,
    own_parts: int,
    lines: torch.Tensor,
    work: torch.Tensor,
    parts: torch.Tensor,
    sums: torch.Tensor,
    scale: float,
    value_scale: float = 1.0,
    *,
    pdl: bool = False,
) -> None:
    """Attention of one new token per row over all that is cached of it.

    Args:
        queries, result: [rows, heads, dim].
        keys, values: [slots, KV heads, dim].
        indptr: [rows + 1] int32; row i's slots are `indices[indptr[i]:indptr[i + 1]]`.
        own_splits: [rows] int32, into how many parts to cut what a row reads for itself.
        own_parts: The most of them.
        lines: [rows or more, WIDTH] int32, of `Groups`; zeros where nothing is shared.
        work: [1 + MOST_WORK] int32, how many parts it has, and these.
        parts, sums: Scratch, float32 [rows, heads, own_parts + MOST_PARTS(, dim)].
        pdl: Begin to launch each of the two kernels before the one ahead of it has ended.
    """
    rows, heads, dim = queries.shape
    kv_heads = keys.shape[-2]
    per_kv_head = heads // kv_heads
    shared_programs = most_work(rows, kv_heads)
    options: dict[str, Any] = {"launch_pdl": True} if pdl else {}
    attend_all[shared_programs + rows * own_parts, kv_heads](
        queries,
        keys,
        values,
        parts,
        sums,
        indptr,
        indices,
        own_splits,
        lines,
        work,
        scale,
        queries.stride(0),
        queries.stride(1),
        keys.stride(-3),
        keys.stride(-2),
        values.stride(-3),
        values.stride(-2),
        shared_programs,
        rows,
        heads,
        per_kv_head,
        rows_per_tile(per_kv_head),
        dim,
        TILE,
        max(_OWN_TILE, triton.next_power_of_2(per_kv_head)),
        _BLOCK,
        _SHARED_BLOCK,
        _SHORT,
        own_parts,
        MOST_PARTS,
        WIDTH,
        pdl,
        **_LAUNCH,
        **options,
    )
    merge[rows, heads](
        parts,
        sums,
        result,
        indptr,
        own_splits,
        lines,
        value_scale,
        result.stride(0),
        result.stride(1),
        heads,
        dim,
        _BLOCK,
        _SHORT,
        own_parts,
        MOST_PARTS,
        triton.next_power_of_2(own_parts + MOST_PARTS),
        WIDTH,
        pdl,
        num_warps=1,
        num_stages=2,
        **options,
    )
