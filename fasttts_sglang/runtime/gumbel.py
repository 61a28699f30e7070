"""Seeded Gumbel-max sampling in one pass over probabilities or logits, as a Triton kernel.

Written with torch operators this is a dozen passes over [rows, vocabulary] in float64. From logits
there is no need of a softmax either: argmax(logit / temperature + noise) is the sample.
"""

import torch
import triton
import triton.language as tl

_COLUMNS = 8192  # per program
_BLOCK = 1024


@triton.jit
def _mix(h, k):
    """MurmurHash3: take 32 bits into the state. All arithmetic wraps at 32 bits."""
    k = k * 0xCC9E2D51
    k = (k << 15) | (k >> 17)
    h = h ^ (k * 0x1B873593)
    h = (h << 13) | (h >> 19)
    return h * 5 + 0xE6546B64


@triton.jit
def _kernel(
    weights,
    temperatures,
    seeds,
    positions,
    best_value,
    best_column,
    num_columns,
    stride,
    columns_per_program: tl.constexpr,
    block: tl.constexpr,
    are_logits: tl.constexpr,
):
    row, part = tl.program_id(0), tl.program_id(1)
    seed = tl.load(seeds + row).to(tl.uint64)
    h = tl.zeros([1], tl.uint32)
    h = _mix(h, (seed & 0xFFFFFFFF).to(tl.uint32))
    h = _mix(h, (seed >> 32).to(tl.uint32))
    h = _mix(h, tl.load(positions + row).to(tl.uint32))
    value = tl.full([block], float("-inf"), tl.float32)
    column = tl.zeros([block], tl.int32)
    scale = 1.0
    if are_logits:
        scale = 1.0 / tl.load(temperatures + row)
    for begin in range(0, columns_per_program, block):
        at = part * columns_per_program + begin + tl.arange(0, block)
        inside = at < num_columns
        weight = tl.load(weights + row.to(tl.int64) * stride + at, mask=inside, other=0.0)
        if are_logits or tl.max(weight, axis=0) > 0:  # a filter excludes most columns
            x = _mix(h, at.to(tl.uint32)) ^ 16  # 16 bytes were hashed
            x = (x ^ (x >> 16)) * 0x85EBCA6B
            x = (x ^ (x >> 13)) * 0xC2B2AE35
            x = x ^ (x >> 16)
            # -log(x / (2^32 - 1)); near 1 by its series, which float32 would round away
            rest = (0xFFFFFFFF - x).to(tl.float32) * (1.0 / 4294967295.0)
            series = rest * (1.0 + rest * (0.5 + rest * (1.0 / 3.0)))
            log = -tl.log(tl.maximum(x.to(tl.float32) * (1.0 / 4294967295.0), 1e-30))
            exponential = tl.maximum(tl.where(rest < 0.00390625, series, log), 1e-30)
            if are_logits:
                score = weight.to(tl.float32) * scale - tl.log(exponential)
            else:
                score = weight.to(tl.float32) / exponential
            score = tl.where(inside, score, float("-inf"))
            column = tl.where(score > value, at, column)
            value = tl.maximum(score, value)
    best = tl.argmax(value, axis=0)
    mine = tl.arange(0, block) == best
    out = row * tl.num_programs(1) + part
    tl.store(best_value + out, tl.max(value, axis=0))
    tl.store(best_column + out, tl.sum(tl.where(mine, column, 0), axis=0))


def gumbel_argmax(
    weights: torch.Tensor,
    seeds: torch.Tensor,
    positions: torch.Tensor,
    temperatures: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample one column per row from unnormalised `weights`; the noise is a hash.

    Args:
        weights: [n, m] non-negative, columns contiguous; with `temperatures`, logits.
        seeds: [n] int64.
        positions: [n] absolute position of the token being sampled.
        temperatures: [n] or [n, 1] float32, positive; None: `weights` are no logits.

    Returns:
        [n] int32 column indices, those of `seeded_sampling.gumbel_argmax` (of the softmax, for
        logits) but for ties in the fifth digit.

    Source: the Gumbel-max trick with the hash of SGLang's `multinomial_with_seed`.
    """
    rows, columns = weights.shape
    parts = triton.cdiv(columns, _COLUMNS)
    value = torch.empty(rows, parts, dtype=torch.float32, device=weights.device)
    column = torch.empty(rows, parts, dtype=torch.int32, device=weights.device)
    _kernel[(rows, parts)](
        weights,
        temperatures,
        seeds,
        positions,
        value,
        column,
        columns,
        weights.stride(0),
        _COLUMNS,
        _BLOCK,
        temperatures is not None,
    )
    if parts == 1:
        return column.squeeze(1)
    return column.gather(1, value.argmax(1, keepdim=True)).squeeze(1)
