"""What a decode step's tokens mean to rows of searches, without SGLang's work per request.

SGLang looks at finish conditions, logprobs, grammars, hidden states and streams of every request
after every step. A row of a search has none of these, and nearly all of its tokens end nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .kv_paths import cut
from .row import row_of


def take_tokens(stock: Callable[..., None], processor: Any, batch: Any, result: Any) -> None:
    """AROUND SchedulerBatchResultProcessor.process_batch_result_decode: batches of rows alone.

    A batch with an ordinary request goes SGLang's way, where `watch_rows` sees the rows' tokens.

    Source: what is left of SGLang's method for such a batch.
    """
    rows: list[Any] = [row_of(req) for req in batch.reqs]
    if None in rows or not batch.spec_algorithm.is_none() or batch.return_logprob:
        stock(processor, batch, result)
        return
    if result.copy_done is not None:
        result.copy_done.synchronize()
    tokens = getattr(result, "fasttts_tokens", None)  # [steps, rows] of a burst
    columns = (result.next_token_ids[None] if tokens is None else tokens).t().tolist()
    reporter, allocator = processor.metrics_reporter, processor.token_to_kv_pool_allocator
    reporter.num_generated_tokens += sum(map(len, columns))
    allocator.free_group_begin()
    ended: list[tuple[int, Any]] = []
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        req = row.req
        if req.finished_reason is not None or req.is_retracted:
            continue  # under the overlap schedule: it ended with the step before
        if row.take(column):
            ended.append((index, row))
    if ended:
        _let_go(processor, batch, result, ended)
    allocator.free_group_end()
    reporter.forward_ct_decode = (reporter.forward_ct_decode + 1) % (1 << 30)
    reporter.report_decode_stats(
        result.can_run_cuda_graph, running_batch=batch, num_correct_drafts=result.num_correct_drafts
    )


def _let_go(processor: Any, batch: Any, result: Any, ended: Sequence[tuple[int, Any]]) -> None:
    runner = ended[0][1].search.runner
    if not runner.let_go([row for _, row in ended]):
        for index, row in ended:
            processor._handle_finish_state_updated_req(
                row.req, batch, result, index, result.logits_output
            )
    runner.take_finished(row.req for _, row in ended)


def trim(req: Any, tree_cache: Any, *_: Any, **__: Any) -> None:
    """BEFORE release_kv_cache: let go of KV slots of tokens that a row will not have.

    They were decoded, or are being decoded, behind its last one.
    """
    row = row_of(req)
    if row is None or req.req_pool_idx is None:
        return
    known, held = len(req.origin_input_ids) + len(req.output_ids), req.kv_committed_len
    if held > known:
        cut(req, tree_cache, known)
        row.search.counts.overrun += held - known
