"""Attention of new tokens over a cached prefix and over themselves, as a Triton kernel."""

import triton
import triton.language as tl


@triton.jit
def _take(query, key, value, visible, scale, mean, total, highest):
    """A block of tokens more: [tile, dim] mean so far, its weight, and the highest logit."""
    logits = tl.where(visible, tl.dot(query, key) * scale, float("-inf"))
    now = tl.maximum(tl.max(logits, 1), highest)
    shrink = tl.exp2(highest - now)
    weights = tl.exp2(logits - now[:, None])
    mean = mean * shrink[:, None] + tl.dot(weights.to(value.dtype), value)
    return mean, total * shrink + tl.sum(weights, 1), now


@triton.jit(do_not_specialize=["rows"])
def attend_new(
    queries,
    new_keys,
    new_values,
    result,
    keys,
    values,
    starts,
    path_starts,
    indices,
    scale,
    query_token,
    query_head,
    new_key_token,
    new_key_head,
    new_value_token,
    new_value_head,
    result_token,
    result_head,
    key_slot,
    key_head,
    value_slot,
    value_head,
    rows,
    most_rows: tl.constexpr,
    per_kv_head: tl.constexpr,
    dim: tl.constexpr,
    tile: tl.constexpr,
    block: tl.constexpr,
):
    """One tile of a row's queries: its new tokens, each with all heads of one KV head."""
    program, kv_head = tl.program_id(0), tl.program_id(1)
    every = tl.arange(0, most_rows)
    start = tl.load(starts + every, mask=every < rows, other=0)
    num_new = tl.load(starts + every + 1, mask=every < rows, other=0) - start
    tiles = tl.cdiv(num_new * per_kv_head, tile)
    row = tl.sum((tl.cumsum(tiles, 0) <= program).to(tl.int32), 0)
    if row < rows:
        first_new = tl.load(starts + row)
        new = tl.load(starts + row + 1) - first_new
        first = tl.load(path_starts + row)
        cached = tl.load(path_starts + row + 1) - first
        lane = (program - tl.sum(tl.where(every < row, tiles, 0), 0)) * tile + tl.arange(0, tile)
        token = lane // per_kv_head
        head = kv_head * per_kv_head + lane % per_kv_head
        mine = token < new
        dims = tl.arange(0, dim)
        place = (first_new + token) * query_token + head * query_head
        query = tl.load(queries + place[:, None] + dims[None, :], mask=mine[:, None], other=0.0)
        highest = tl.full([tile], float("-inf"), tl.float32)
        total = tl.zeros([tile], tl.float32)
        mean = tl.zeros([tile, dim], tl.float32)
        at = tl.arange(0, block)
        slot = tl.load(indices + first + at, mask=at < cached, other=0)
        for begin in tl.range(0, cached, block):
            there = begin + at < cached
            at_key = slot[None, :] * key_slot + kv_head * key_head + dims[:, None]
            key = tl.load(keys + at_key, mask=there[None, :], other=0.0)
            at_value = slot[:, None] * value_slot + kv_head * value_head + dims[None, :]
            value = tl.load(values + at_value, mask=there[:, None], other=0.0)
            ahead = begin + block + at  # their slots are loaded a block ahead
            slot = tl.load(indices + first + ahead, mask=ahead < cached, other=0)
            mean, total, highest = _take(
                query, key, value, there[None, :], scale, mean, total, highest
            )
        end = tl.minimum(tl.max(token, 0) + 1, new)
        for begin in tl.range(0, end, block):
            other = begin + at
            there = other < end
            at_key = (first_new + other)[None, :] * new_key_token + kv_head * new_key_head
            key = tl.load(new_keys + at_key + dims[:, None], mask=there[None, :], other=0.0)
            at_value = (first_new + other)[:, None] * new_value_token + kv_head * new_value_head
            value = tl.load(new_values + at_value + dims[None, :], mask=there[:, None], other=0.0)
            visible = (other[None, :] <= token[:, None]) & there[None, :]
            mean, total, highest = _take(query, key, value, visible, scale, mean, total, highest)
        place = (first_new + token) * result_token + head * result_head
        tl.store(result + place[:, None] + dims[None, :], mean / total[:, None], mask=mine[:, None])
