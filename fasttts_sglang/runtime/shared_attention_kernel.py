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
import triton.language as tl

from ..scheduling.prefix_groups import MOST_MEMBERS, MOST_PARTS, WIDTH, most_work

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


@triton.jit
def _own_size(length, splits, shared, block: tl.constexpr, short: tl.constexpr):
    """Tokens per part of what a row reads for itself; without a group as SGLang cuts it."""
    size = tl.cdiv(tl.cdiv(length, splits), block) * block
    return tl.where(shared > 0, tl.maximum(size, short), size)


@triton.jit
def _attend(
    row,
    head,
    kv_head,
    first,
    begin,
    end,
    out,
    queries,
    keys,
    values,
    parts,
    sums,
    indices,
    scale,
    query_row,
    query_head,
    key_slot,
    key_head,
    value_slot,
    value_head,
    dim: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    """One part of the queries of `row` and `head`, [tile] each: tokens begin to end of a path.

    Slots are loaded a block ahead: else every block waits for them before it can load their KV.
    """
    valid = row >= 0
    dims = tl.arange(0, dim)
    place = row[:, None] * query_row + head[:, None] * query_head + dims[None, :]
    query = tl.load(queries + place, mask=valid[:, None], other=0.0).to(keys.dtype.element_ty)
    highest = tl.full([tile], float("-inf"), tl.float32)
    total = tl.zeros([tile], tl.float32)
    mean = tl.zeros([tile, dim], tl.float32)
    token = begin + tl.arange(0, block)
    slot = tl.load(indices + first + token, mask=token < end, other=0)
    for at in tl.range(begin, end, block):
        token = at + tl.arange(0, block)
        there = token < end
        at_key = slot[None, :] * key_slot + kv_head * key_head + dims[:, None]
        key = tl.load(keys + at_key, mask=there[None, :], other=0.0)
        next_slot = tl.load(indices + first + token + block, mask=token + block < end, other=0)
        logits = tl.dot(query, key)
        logits *= scale
        logits = tl.where(there[None, :], logits, float("-inf"))
        at_value = slot[:, None] * value_slot + kv_head * value_head + dims[None, :]
        value = tl.load(values + at_value, mask=there[:, None], other=0.0)
        now = tl.maximum(tl.max(logits, 1), highest)
        shrink = tl.exp(highest - now)
        weights = tl.exp(logits - now[:, None])
        mean *= shrink[:, None]
        mean += tl.dot(weights.to(value.dtype), value)
        total = total * shrink + tl.sum(weights, 1)
        highest = now
        slot = next_slot
    tl.store(parts + out[:, None] * dim + dims[None, :], mean / total[:, None], mask=valid[:, None])
    tl.store(sums + out, highest + tl.log(total), mask=valid)


@triton.jit(do_not_specialize=["shared_programs", "rows"])
def _attend_all(
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
    query_row,
    query_head,
    key_slot,
    key_head,
    value_slot,
    value_head,
    shared_programs,
    rows,
    heads: tl.constexpr,
    heads_per_kv_head: tl.constexpr,
    most_members: tl.constexpr,
    dim: tl.constexpr,
    tile: tl.constexpr,
    own_tile: tl.constexpr,
    block: tl.constexpr,
    shared_block: tl.constexpr,
    short: tl.constexpr,
    own_parts: tl.constexpr,
    shared_parts: tl.constexpr,
    width: tl.constexpr,
    pdl: tl.constexpr,
):
    if pdl:
        tl.extra.cuda.gdc_wait()  # for the queries and the KV of this step
    program, kv_head = tl.program_id(0), tl.program_id(1)
    all_parts: tl.constexpr = own_parts + shared_parts
    if program < shared_programs:
        if program < tl.load(work):
            lane = tl.arange(0, tile)
            member = lane // heads_per_kv_head
            head = kv_head * heads_per_kv_head + lane % heads_per_kv_head
            entry = tl.load(work + 1 + program)
            line = lines + entry // shared_parts * width
            part = entry % shared_parts
            row = tl.load(line + 3 + member, mask=member < most_members, other=-1)
            size = tl.load(line + 1)
            begin = size * part
            _attend(
                row,
                head,
                kv_head,
                tl.load(indptr + tl.load(line + 3)),
                begin,
                tl.minimum(begin + size, tl.load(line + 2)),
                (row * heads + head) * all_parts + own_parts + part,
                queries,
                keys,
                values,
                parts,
                sums,
                indices,
                scale,
                query_row,
                query_head,
                key_slot,
                key_head,
                value_slot,
                value_head,
                dim,
                tile,
                shared_block,
            )
    else:
        own = (program - shared_programs) % rows
        part = (program - shared_programs) // rows
        shared = tl.load(lines + own * width)
        first = tl.load(indptr + own)
        end = tl.load(indptr + own + 1) - first
        size = _own_size(end - shared, tl.load(own_splits + own), shared, block, short)
        begin = shared + size * part
        if begin < end:
            own_lane = tl.arange(0, own_tile)
            own_row = tl.where(own_lane < heads_per_kv_head, own, -1)
            own_head = kv_head * heads_per_kv_head + own_lane
            _attend(
                own_row,
                own_head,
                kv_head,
                first,
                begin,
                tl.minimum(begin + size, end),
                (own_row * heads + own_head) * all_parts + part,
                queries,
                keys,
                values,
                parts,
                sums,
                indices,
                scale,
                query_row,
                query_head,
                key_slot,
                key_head,
                value_slot,
                value_head,
                dim,
                own_tile,
                block,
            )
    if pdl:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def _merge(
    parts,
    sums,
    result,
    indptr,
    own_splits,
    lines,
    value_scale,
    result_row,
    result_head,
    heads: tl.constexpr,
    dim: tl.constexpr,
    block: tl.constexpr,
    short: tl.constexpr,
    own_parts: tl.constexpr,
    shared_parts: tl.constexpr,
    most_parts: tl.constexpr,
    width: tl.constexpr,
    pdl: tl.constexpr,
):
    """One row and head: the mean of its parts. Without a group step by step, as SGLang has it."""
    row, head = tl.program_id(0), tl.program_id(1)
    shared = tl.load(lines + row * width)
    shared_size = tl.load(lines + row * width + 1)
    length = tl.load(indptr + row + 1) - tl.load(indptr + row) - shared
    own_size = _own_size(length, tl.load(own_splits + row), shared, block, short)
    own = tl.cdiv(length, own_size)
    dims = tl.arange(0, dim)
    begin = (row * heads + head) * (own_parts + shared_parts)
    place = row * result_row + head * result_head + dims
    if pdl:
        tl.extra.cuda.gdc_wait()
    if shared > 0:
        part = tl.arange(0, most_parts)
        there = tl.where(part < own_parts, part < own, (part - own_parts) * shared_size < shared)
        log_sums = tl.load(sums + begin + part, mask=there, other=float("-inf"))
        at = (begin + part)[:, None] * dim + dims[None, :]
        means = tl.load(parts + at, mask=there[:, None], other=0.0)
        weights = tl.exp(log_sums - tl.max(log_sums, 0))
        both = tl.sum(means * weights[:, None], 0) / tl.sum(weights, 0)
        tl.store(result + place, both * value_scale)
    else:
        highest = -float("inf")
        total = 0.0
        mean = tl.zeros([dim], tl.float32)
        for index in tl.range(0, own, num_stages=2):
            log_sum = tl.load(sums + begin + index)
            value = tl.load(parts + (begin + index) * dim + dims)
            now = tl.maximum(log_sum, highest)
            shrink, weight = tl.exp(highest - now), tl.exp(log_sum - now)
            mean *= shrink
            mean += weight * value
            total = total * shrink + weight
            highest = now
        tl.store(result + place, mean / total * value_scale)


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
    _attend_all[shared_programs + rows * own_parts, kv_heads](
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
    _merge[rows, heads](
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
