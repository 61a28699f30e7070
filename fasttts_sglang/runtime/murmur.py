"""SGLang's seeded-sampling hash in plain torch, for devices without Triton."""

import torch

_MASK = 0xFFFFFFFF


def murmur_hash32(
    seed: torch.Tensor, positions: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Hash every (seed, position, column) to 32 bits, bit-identical to SGLang's Triton kernel.

    All arithmetic is done in int64 modulo 2**32. A product of two 32-bit numbers overflows
    int64, but two's complement keeps its low 32 bits, which is all that is used.

    Args:
        seed: [n] int64, the rows' sampling seeds.
        positions: [n] integer, absolute position of the token being sampled.
        columns: [m] integer, vocabulary columns (or ranks).

    Returns:
        [n, m] int64 with values in [0, 2**32).

    Source: MurmurHash3 x86 32-bit over the blocks seed low, seed high, position, column.
    """
    seed = seed.to(torch.int64)
    h = _mix(torch.zeros_like(seed), seed & _MASK)
    h = _mix(h, (seed >> 32) & _MASK)
    h = _mix(h, positions.to(torch.int64) & _MASK)
    h = _mix(h[:, None], columns.to(torch.int64)[None, :] & _MASK)
    h = h ^ 16
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


def _mix(h: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    k = _rotl((k * 0xCC9E2D51) & _MASK, 15)
    h = h ^ ((k * 0x1B873593) & _MASK)
    return (_rotl(h, 13) * 5 + 0xE6546B64) & _MASK


def _rotl(x: torch.Tensor, bits: int) -> torch.Tensor:
    return ((x << bits) | (x >> (32 - bits))) & _MASK
