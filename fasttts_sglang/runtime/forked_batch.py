"""A decode batch of rows that were forked: no prefill has prepared it."""

from collections.abc import Sequence
from typing import Any

import torch
from sglang.srt.managers.overlap_utils import RelayPayload
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch
from sglang.srt.mem_cache.allocation import write_cache_indices

from .row_sampling import sampling_info


def forked_batch(scheduler: Any, reqs: list[Req], last_tokens: Sequence[int]) -> ScheduleBatch:
    """A decode batch of requests whose KV is there, as if they had been prefilled.

    Args:
        last_tokens: Of each; it is run again to draw the next one.

    Source: follows SGLang's `Scheduler._build_hisparse_decode_batch`.
    """
    pool = scheduler.req_to_token_pool
    pool.alloc(reqs)
    batch = ScheduleBatch.init_new(
        reqs,
        pool,
        scheduler.token_to_kv_pool_allocator,
        scheduler.tree_cache,
        scheduler.model_config,
        scheduler.enable_overlap,
        scheduler.spec_algorithm,
    )
    device = scheduler.device
    indices, lengths = [r.req_pool_idx for r in reqs], [r.kv_committed_len for r in reqs]
    host = torch.tensor([indices, lengths, last_tokens], dtype=torch.int64)
    rows, lens, _ = host
    batch.req_pool_indices_cpu, batch.seq_lens_cpu = rows, lens
    batch.req_pool_indices, batch.seq_lens, last = host.to(device, non_blocking=True)
    batch.orig_seq_lens = batch.seq_lens.to(torch.int32)
    write_cache_indices(
        out_cache_loc=batch.seq_lens,  # not read: nothing stands behind the prefixes
        req_pool_indices_tensor=batch.req_pool_indices,
        req_pool_indices_cpu=rows,
        prefix_lens_tensor=batch.seq_lens,
        prefix_lens_cpu=lens,
        seq_lens_tensor=batch.seq_lens,
        seq_lens_cpu=lens,
        extend_lens_tensor=batch.seq_lens,  # only read for places in out_cache_loc
        extend_lens_cpu=torch.zeros_like(lens),
        prefix_tensors=[req.prefix_indices for req in reqs],
        req_to_token_pool=pool,
    )
    batch.seq_lens_sum = sum(lengths)
    batch.input_ids, batch.multimodal_inputs = None, [None] * len(reqs)
    _stash(scheduler, batch.req_pool_indices, last)
    batch.sampling_info = sampling_info(batch, scheduler.model_config.vocab_size)
    return batch


def _stash(scheduler: Any, rows: torch.Tensor, last: torch.Tensor) -> None:
    """Give the next forward its input tokens.

    Under the overlap schedule the forward in flight writes the same buffer at its end, maybe
    for a row number that was freed since. So we write behind it, on its stream, and keep the
    tensors alive for that stream.
    """
    payload = RelayPayload(bonus_tokens=last)
    if not scheduler.enable_overlap:
        scheduler.future_map.stash(rows, payload)
        return
    for tensor in (rows, last):
        if tensor.is_cuda:
            tensor.record_stream(scheduler.forward_stream)
    with scheduler.forward_stream_ctx:
        scheduler.forward_stream.wait_stream(scheduler.schedule_stream)
        scheduler.future_map.stash(rows, payload)
