"""What a scheduler does otherwise for rows of searches, and around its batches."""

from collections.abc import Callable
from typing import Any

from .row import row_of


def step(
    scheduler: Any, running_batch: Any, last_batch: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """BEFORE Scheduler.get_next_batch_to_run: what has completed is scored, new rows join."""
    if scheduler.fasttts_budget is not None:
        scheduler.fasttts_budget.between_batches()
    running = scheduler.fasttts.step(running_batch)
    if scheduler.fasttts_metrics is not None:
        scheduler.fasttts_metrics.observe(scheduler.fasttts, scheduler.fasttts_memory)
    return (scheduler,), {"running_batch": running, "last_batch": last_batch}


def watch_rows(stock: Callable[..., None], req: Any, *args: Any, **kwargs: Any) -> None:
    """AROUND Req.update_finish_state: a search's row ends where the search says so."""
    row = row_of(req)
    if row is None or req.to_finish or req.finished():
        stock(req, *args, **kwargs)
    else:
        row.search.runner.on_token(req)


def abort(_none: None, scheduler: Any, recv_req: Any) -> None:
    """AFTER Scheduler.abort_request: a search may be meant."""
    scheduler.fasttts.cancel(recv_req.rid, everything=recv_req.abort_all)


def hide_from_clients(
    streamer: Any, reqs: Any, *args: Any, **kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """BEFORE SchedulerOutputStreamer.stream_output: rows of a search are ours, not a client's."""
    rows = [req for req in reqs if row_of(req) is not None]
    if not rows:
        return None
    rows[0].fasttts.search.runner.take_finished(rows)
    shown = [req for req in reqs if row_of(req) is None]
    return (streamer, shown, *args), kwargs


def keep_row_aborts(
    send: Callable[..., None], sender: Any, output: Any, recv_obj: Any = None
) -> None:
    """AROUND SenderWrapper.send_output: the tokenizer process knows no rows."""
    row = row_of(recv_obj)
    if row is None:
        send(sender, output, recv_obj)
    else:
        reason = getattr(output, "finished_reason", None) or {}
        row.search.runner.row_aborted(recv_obj, reason.get("message"))


def check_verifier_pool(_none: None, scheduler: Any) -> None:
    """AFTER Scheduler.on_idle: the verifier's share of SGLang's idle leak check."""
    runner = scheduler.fasttts
    if runner.verifier is None or runner.num_live or not scheduler.is_fully_idle():
        return
    if leak := runner.verifier.leak():
        scheduler.invariant_checker._report_leak("pool", leak)


def flush_verifier(flushed: bool, scheduler: Any, *_: Any, **__: Any) -> None:
    """AFTER Scheduler.flush_cache: both models forget."""
    if flushed and scheduler.fasttts.verifier is not None:
        scheduler.fasttts.verifier.flush()
