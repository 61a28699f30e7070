"""SGLang's sampling parameters of a batch of rows: those of one row, as often as there are rows."""

from dataclasses import replace
from typing import Any

import torch
from sglang.srt.sampling.penaltylib import BatchedPenalizerOrchestrator
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

_SPARE = 64  # rows
_PER_ROW = ("temperatures", "top_ps", "top_ks", "min_ps")


def _many(values: torch.Tensor) -> torch.Tensor:
    """All values are the same: as many as there are, and some more."""
    return values[:1].repeat(max(_SPARE, len(values)), *[1] * (values.ndim - 1))


def sampling_info(batch: Any, vocab_size: int) -> SamplingBatchInfo:
    """What `SamplingBatchInfo.from_schedule_batch` makes of a batch of rows.

    Rows of one search differ in their seeds alone, so its first batch is asked for the rest.
    """
    rows = [req.fasttts for req in batch.reqs]
    search = rows[0].search
    if any(row.search is not search for row in rows):
        return SamplingBatchInfo.from_schedule_batch(batch, vocab_size)
    one, n = search.sampling_info, len(rows)
    if one is None or len(one) < n:
        info = SamplingBatchInfo.from_schedule_batch(batch, vocab_size)
        search.sampling_info = replace(info, **{k: _many(getattr(info, k)) for k in _PER_ROW})
        return info
    seeds = torch.tensor([req.sampling_params.sampling_seed for req in batch.reqs])
    return replace(
        one,
        **{k: getattr(one, k)[:n] for k in _PER_ROW},  # SGLang makes new tensors, it changes none
        sampling_seed=seeds.to(batch.device, non_blocking=True),
        return_sampling_masks=[False] * n,
        penalizer_orchestrator=BatchedPenalizerOrchestrator(
            vocab_size, batch, set(one.penalizer_orchestrator.penalizers)
        ),
    )
