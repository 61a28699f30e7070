"""What the parts of a row's attention come to, as a Triton kernel."""

import triton
import triton.language as tl

from .attend_kernel import own_size


@triton.jit
def merge(
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
    size = own_size(length, tl.load(own_splits + row), shared, block, short)
    own = tl.cdiv(length, size)
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
