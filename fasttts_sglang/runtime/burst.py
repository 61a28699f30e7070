"""Several decode steps of one batch, launched one behind the other.

Between two decode steps SGLang's scheduler and ours work in Python for longer than a small model
takes for a step. A batch that has only rows of searches need not be looked at after every token: a
row that passes a step boundary goes on as child 0 anyway, so its further tokens are of use, and
where it does not they are dropped. Which tokens a path has never depends on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import decoded_again


@dataclass(slots=True)
class Burst:
    """The steps behind the first."""

    slots: torch.Tensor  # [steps - 1, rows] KV slots of their tokens


def plan(batch: Any, scheduler: Any, *_: Any, **__: Any) -> None:
    """AFTER Scheduler.update_running_batch: how many steps `batch` runs, and their KV slots."""
    if batch is None or batch.is_empty():
        return
    more = scheduler.fasttts.steps_at_once(batch) - 1
    if more < 1:
        return
    from sglang.srt.mem_cache.common import evict_from_tree_cache

    allocator, rows = scheduler.token_to_kv_pool_allocator, batch.batch_size()
    evict_from_tree_cache(scheduler.tree_cache, more * rows)
    slots = allocator.alloc(more * rows)
    if slots is None:
        return
    slots = slots.view(more, rows)
    ahead = torch.arange(more, device=batch.seq_lens.device)[:, None]
    places = (batch.req_pool_indices.expand(more, rows), batch.seq_lens + ahead)
    scheduler.req_to_token_pool.write(places, slots.to(torch.int32))
    for req in batch.reqs:
        req.kv_committed_len += more
        req.kv.kv_allocated_len += more
        req.decode_batch_idx += more
    batch.fasttts_burst = Burst(slots)
    scheduler.fasttts.count_steps(more)


def launch(
    stock: Callable[..., Any],
    worker: Any,
    batch: Any,
    forward_batch: Any = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """AROUND TpModelWorker.forward_batch_generation: run all steps of a burst.

    A prefill of rows may have to be decoded over, see `decoded_again`.

    The result's `next_token_ids` are the last step's; `fasttts_tokens` has all, [steps, rows].
    """
    burst = getattr(batch, "fasttts_burst", None)
    if burst is None or not batch.forward_mode.is_decode():
        if spans := decoded_again.spans(worker, batch):
            return decoded_again.launch(stock, worker, batch, spans)
        return stock(worker, batch, forward_batch, *args, **kwargs)
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

    forward = ForwardBatch.init_new(
        batch, worker.model_runner, return_hidden_states_before_norm=False
    )
    graphs = getattr(worker.model_runner, "fasttts_burst", None)
    if graphs is not None and forward.mrope_positions is None:
        result = stock(worker, None, forward, is_verify=True)  # which leaves the drawing to us
        if result.can_run_cuda_graph:
            tokens = graphs.run(result.logits_output, forward, burst.slots)
            return _with_tokens(result, tokens, burst.slots)
        result.next_token_ids = worker.model_runner.sample(result.logits_output, forward)
    else:
        result = stock(worker, None, forward)
    drawn = [result.next_token_ids]
    for slots in burst.slots:
        forward.input_ids = drawn[-1].to(torch.int64)
        forward.out_cache_loc = slots
        forward.positions = forward.positions + 1
        forward.seq_lens = forward.seq_lens + 1
        forward.orig_seq_lens = forward.orig_seq_lens + 1
        if forward.seq_lens_cpu is not None:
            forward.seq_lens_cpu = forward.seq_lens_cpu + 1
        if forward.seq_lens_sum is not None:
            forward.seq_lens_sum += len(slots)
        result = stock(worker, None, forward)
        drawn.append(result.next_token_ids)
    return _with_tokens(result, torch.stack(drawn), burst.slots)


def _with_tokens(result: Any, tokens: torch.Tensor, slots: torch.Tensor) -> Any:
    result.fasttts_tokens, result.next_token_ids = tokens, tokens[-1]
    result.extra_keep_alive_refs = [*(result.extra_keep_alive_refs or ()), slots]
    return result


def advance(_result: Any, _scheduler: Any, batch: Any, *_: Any, **__: Any) -> None:
    """AFTER Scheduler.run_batch: the batch is behind the last step of its burst."""
    burst = getattr(batch, "fasttts_burst", None)
    if burst is None:
        return
    more = len(burst.slots)
    # new tensors: the forward that was launched reads the old ones
    batch.seq_lens = batch.seq_lens + more
    batch.seq_lens_cpu = batch.seq_lens_cpu + more
    batch.orig_seq_lens = batch.orig_seq_lens + more
    batch.seq_lens_sum = None
    batch.fasttts_burst = None


def copy_tokens(result: Any, *_: Any, **__: Any) -> None:
    """BEFORE GenerationBatchResult.copy_to_cpu: all tokens of a burst go along."""
    from sglang.srt.managers.utils import _async_d2h

    tokens = getattr(result, "fasttts_tokens", None)
    if tokens is not None:
        result.fasttts_tokens = _async_d2h(tokens)
