"""The parts of a decode step's attention, as a Triton kernel: what rows share, and their own."""

import triton
import triton.language as tl


@triton.jit
def own_size(length, splits, shared, block: tl.constexpr, short: tl.constexpr):
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
def attend_all(
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
        size = own_size(end - shared, tl.load(own_splits + own), shared, block, short)
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
