"""Per-row sampling seeds without SGLang's deterministic mode, on any device.

SGLang honours `sampling_seed` only with `--enable-deterministic-inference`, whose batch-invariant
kernels cost a threefold decode time. A search needs just the seeds. Batches without search rows
keep `sampling_seed is None`, so ordinary requests take SGLang's own sampler untouched; in a mixed
batch an ordinary row gets a random seed of its own, which samples the same distribution.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy
import torch

from .murmur import murmur_hash32
from .row import row_of

_MAX_SEED = 2**63 - 1
_U32 = 2**32 - 1


def seed_rows(_none: None, info: Any, batch: Any, *_: Any, **__: Any) -> None:
    """AFTER SamplingBatchInfo.adjusted_from_schedule_batch: give search rows their seeds."""
    if info.sampling_seed is not None:  # deterministic mode has done it
        return
    seeds = [row_seed(req) for req in batch.reqs]
    if any(seed is not None for seed in seeds):
        drawn = random_seeds(len(seeds), "cpu").tolist()
        pairs = zip(seeds, drawn, strict=True)
        info.sampling_seed = torch.tensor(
            [other if seed is None else seed for seed, other in pairs], dtype=torch.int64
        ).to(batch.device, non_blocking=True)


def merge_seeds(_none: None, info: Any, other: Any) -> None:
    """AFTER SamplingBatchInfo.adjusted_merge_batch: `info` already holds both batches' rows.

    SGLang concatenates seeds only when both sides have them, so a side without is filled here.
    """
    mine, theirs, total = info.sampling_seed, other.sampling_seed, len(info)
    if mine is None and theirs is not None:
        info.sampling_seed = torch.cat([random_seeds(total - len(theirs), theirs.device), theirs])
    elif mine is not None and len(mine) < total:
        info.sampling_seed = torch.cat([mine, random_seeds(total - len(mine), mine.device)])


def sample_from_logits(
    stock: Callable[..., torch.Tensor],
    sampler: Any,
    logits_output: Any,
    sampling_info: Any,
    return_logprob: bool,
    top_logprobs_nums: Any,
    token_ids_logprobs: Any,
    positions: torch.Tensor,
) -> torch.Tensor:
    """AROUND Sampler.forward: seeded rows on a GPU, in few passes over the logits."""
    info, logits = sampling_info, logits_output.next_token_logits
    if (
        not _is_ours(sampler, info)
        or return_logprob
        or any(info.return_sampling_masks or ())
        or not logits.is_cuda
    ):
        return stock(
            sampler,
            logits_output,
            info,
            return_logprob,
            top_logprobs_nums,
            token_ids_logprobs,
            positions,
        )
    ids = draw(sampler._preprocess_logits(logits, info), info, positions)
    sampler._sync_token_ids_across_tp(ids, info)
    return ids


def _is_ours(sampler: Any, info: Any) -> bool:
    """Whether rows are seeded and drawn by us: deterministic mode and argmax are SGLang's."""
    return not (info.sampling_seed is None or info.is_any_greedy or sampler.enable_deterministic)


def _filters(info: Any) -> bool:
    return bool(info.need_top_p_sampling or info.need_top_k_sampling or info.need_min_p_sampling)


def draws_from_logits(sampler: Any, info: Any) -> bool:
    """Whether `draw` needs but seeds, temperatures and positions for the rows of a search."""
    return _is_ours(sampler, info) and not _filters(info)


def draw(logits: torch.Tensor, info: Any, positions: torch.Tensor) -> torch.Tensor:
    """A token per row of `logits` [n, vocab] on a GPU.

    Without filters there is no need of a softmax; else one pass divides by the temperature too.
    """
    from . import gumbel

    if not _filters(info):
        return gumbel.gumbel_argmax(logits, info.sampling_seed, positions, info.temperatures)
    from flashinfer.sampling import softmax

    probs = softmax(logits.float(), info.temperatures.view(-1))
    return _sample_on_gpu(probs, info, positions, simple=False)


def sample(
    stock: Callable[..., torch.Tensor],
    sampler: Any,
    probs: torch.Tensor,
    info: Any,
    positions: torch.Tensor,
    simple: bool,
) -> torch.Tensor:
    """AROUND Sampler._sample_from_probs: seeded rows, unless deterministic mode handles them."""
    if info.sampling_seed is None or sampler.enable_deterministic:
        return stock(sampler, probs, info, positions, simple)
    if probs.is_cuda:
        return _sample_on_gpu(probs, info, positions, simple)
    if simple:
        ranks = gumbel_argmax(probs, info.sampling_seed, positions)
        return ranks.to(torch.int32)
    sorted_probs, ids = filter_probs(
        probs, info.top_ks, info.top_ps, info.min_ps if info.need_min_p_sampling else None
    )
    ranks = gumbel_argmax(sorted_probs, info.sampling_seed, positions, columns=ids)
    return ids.gather(1, ranks[:, None]).view(-1).to(torch.int32)


def _sample_on_gpu(
    probs: torch.Tensor, info: Any, positions: torch.Tensor, simple: bool
) -> torch.Tensor:
    """The same in one pass; top-k and top-p by SGLang's kernels, which need no sort."""
    from sglang.srt.layers.sampler import top_k_renorm_prob, top_p_renorm_prob

    from . import gumbel

    weights = probs  # what a filter excludes becomes 0; a row's scale does not matter
    if not simple and info.need_top_p_sampling:
        weights = top_p_renorm_prob(probs, info.top_ps)
    if not simple and info.need_top_k_sampling:
        among_best = top_k_renorm_prob(probs, info.top_ks)
        weights = among_best if weights is probs else weights.mul_(among_best > 0)
    if not simple and info.need_min_p_sampling:
        weights = weights * (probs >= probs.amax(1, keepdim=True) * info.min_ps[:, None])
    return gumbel.gumbel_argmax(weights, info.sampling_seed, positions)


def filter_probs(
    probs: torch.Tensor,
    top_ks: torch.Tensor,
    top_ps: torch.Tensor,
    min_ps: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero what top-k, top-p and min-p exclude.

    Args:
        probs: [n, vocab] probabilities.
        top_ks, top_ps, min_ps: [n] per-row limits; `min_ps` None means no min-p.

    Returns:
        Probabilities and token ids, both [n, vocab], sorted by descending probability.
    """
    sorted_probs, ids = probs.sort(dim=-1, descending=True, stable=True)
    before = sorted_probs.cumsum(dim=-1) - sorted_probs
    ranks = torch.arange(probs.shape[-1], device=probs.device)
    excluded = (ranks >= top_ks[:, None]) | (before > top_ps[:, None])
    if min_ps is not None:
        excluded |= sorted_probs < sorted_probs[:, :1] * min_ps[:, None]
    return sorted_probs.masked_fill(excluded, 0.0), ids


def gumbel_argmax(
    weights: torch.Tensor,
    seeds: torch.Tensor,
    positions: torch.Tensor,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample one column per row from unnormalised `weights`, reproducibly.

    The noise of a column depends on (seed, position, vocabulary column) alone, never on the row's
    place in the batch or on the rank a filter gave the column.

    Args:
        weights: [n, m] non-negative.
        seeds: [n] int64.
        positions: [n] absolute position of the token being sampled.
        columns: [n, m] vocabulary ids of the columns if `weights` is sorted; else column order.

    Returns:
        [n] int64 column indices.

    Source: the Gumbel-max trick with the hash of SGLang's `multinomial_with_seed`.
    """
    hashed = _hash_vocabulary(seeds, positions, weights.shape[1])
    if columns is not None:
        hashed = hashed.gather(1, columns)
    # float64: in float32 the noise of near-certain hashes collapses to one value.
    uniform = hashed.to(torch.float64) / _U32
    tiny = torch.finfo(torch.float64).tiny
    exponential = -uniform.clamp_min(tiny).log()
    # argmax(log w + gumbel) = argmax(w / exponential), with one logarithm less
    return (weights.to(torch.float64) / exponential.clamp_min(tiny)).argmax(dim=1)


def _hash_vocabulary(seeds: torch.Tensor, positions: torch.Tensor, size: int) -> torch.Tensor:
    vocab = torch.arange(size, device=seeds.device)
    if not seeds.is_cuda:
        return murmur_hash32(seeds, positions, vocab)
    from sglang.kernels.ops.sampling.murmur_hash import murmur_hash32 as fused

    # the kernel stores uint32, which few torch operators take
    return fused(seeds.to(torch.uint64), positions, vocab).view(torch.int32).to(torch.int64) & _U32


def row_seed(req: Any) -> int | None:
    """The seed of a search row; None for an ordinary request."""
    if row_of(req) is None:
        return None
    seed: int | None = req.sampling_params.sampling_seed
    return seed


def random_seeds(count: int, device: Any) -> torch.Tensor:
    """[count] int64 seeds for rows that have none.

    From a generator of our own, so that searches do not move the one that ordinary requests draw
    from. It starts from the server's seed, which is the same on every rank.
    """
    seeds = torch.randint(_MAX_SEED, (count,), dtype=torch.int64, generator=_generator())
    return seeds.to(device, non_blocking=True)


@cache
def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(torch.initial_seed())


@contextmanager
def same_random_state() -> Iterator[None]:
    """Leave torch's, numpy's and Python's random state as they were."""
    python, array = random.getstate(), numpy.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            numpy.random.set_state(array)
