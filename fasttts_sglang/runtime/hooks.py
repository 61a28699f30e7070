"""Every SGLang internal we touch, in one table per process role."""

import gc
import logging
import os
from collections.abc import Callable
from typing import Any

from ..config import ENV, FastTTSConfig
from . import burst, decode_results, order_hooks, seeded_sampling
from .hook import Hook, HookType
from .row import row_of

logger = logging.getLogger(__name__)

SCHEDULER = "sglang.srt.managers.scheduler.Scheduler"
REQ = "sglang.srt.managers.schedule_batch.Req"
SAMPLING = "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo"
BATCH = "sglang.srt.managers.schedule_batch.ScheduleBatch"
COMPONENTS = "sglang.srt.managers.scheduler_components"


def build_verifier(_none: None, scheduler: Any) -> None:
    """AFTER Scheduler.maybe_init_draft_worker: the generator is loaded, its KV not yet sized."""
    from .seeded_sampling import same_random_state
    from .verifier_worker import VerifierWorker

    config = FastTTSConfig.from_env()
    with same_random_state():  # else unseeded requests would draw other tokens than without us
        scheduler.fasttts_verifier = (
            VerifierWorker(scheduler, config) if config.verifier_path else None
        )


def build_runner(_none: None, scheduler: Any) -> None:
    """AFTER Scheduler.init_request_dispatcher: take searches from now on."""
    from sglang.utils import TypeBasedDispatcher

    from ..verifier.score_cache import ScoreCache
    from .function_verifier import FunctionVerifier
    from .kv_memory import KVMemory
    from .messages import MemoryMessage, ScoreMessage, SearchMessage, StopSearch
    from .metrics import SchedulerMetrics
    from .pools.shared_budget import shared_budget
    from .search_runner import SearchRunner
    from .verdicts import GenerativeVerifier
    from .verifier import Verifier
    from .verifier_runner import VerifierRunner

    config = FastTTSConfig.from_env()
    cache = ScoreCache(config.score_cache_entries)
    verifier: Verifier | None = None
    if worker := scheduler.fasttts_verifier:
        common = (worker, scheduler.future_map, config.verifier_batch_tokens, cache)
        if worker.family.verdict is None:
            verifier = VerifierRunner(*common)
        else:
            verifier = GenerativeVerifier(*common, config.verdict_tokens)
    elif config.verifier_function:
        verifier = FunctionVerifier(config.verifier_function, scheduler.tokenizer, cache)
    scheduler.fasttts = SearchRunner(scheduler, config, verifier)
    runner = scheduler.tp_worker.model_runner
    if runner.device == "cuda":
        from .burst_graphs import burst_graphs

        runner.fasttts_burst = burst_graphs(runner, config.decode_burst)
    scheduler.fasttts_budget = budget = shared_budget(scheduler)
    if budget is not None:
        scheduler.fasttts_resize = budget.set_by_hand  # for Engine.collective_rpc
    scheduler.fasttts_memory = KVMemory(scheduler, config, verifier)
    args = scheduler.server_args
    publishes = args.enable_metrics and scheduler.ps.attn_tp_rank == 0
    scheduler.fasttts_metrics = SchedulerMetrics(args.served_model_name) if publishes else None
    scheduler._request_dispatcher += TypeBasedDispatcher(
        [
            (SearchMessage, scheduler.fasttts.admit),
            (StopSearch, scheduler.fasttts.stop),
            (ScoreMessage, scheduler.fasttts.scores.admit),
            (MemoryMessage, scheduler.fasttts_memory.admit),
        ]
    )


def freeze_garbage(scheduler: Any) -> None:
    """BEFORE Scheduler.run_event_loop: what there is now stays, so no collection looks at it.

    SGLang and torch are a million objects, and a search makes many: a full collection in the midst
    of one took 0.9 s.
    """
    gc.collect()
    gc.freeze()


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


def route_replies(_none: None, manager: Any) -> None:
    """AFTER TokenizerManager.init_request_dispatcher: deliver results to waiting clients."""
    if ENV not in os.environ:  # a stock engine, in a process that has started one of ours
        return
    from sglang.utils import TypeBasedDispatcher

    from .client import SearchClient
    from .messages import MemoryDone, ScoreDone, SearchDone, SearchProgress
    from .metrics import SearchMetrics

    metrics = SearchMetrics(manager.served_model_name) if manager.enable_metrics else None
    manager.fasttts = SearchClient(manager, FastTTSConfig.from_env(), metrics)
    manager._result_dispatcher += TypeBasedDispatcher(
        [
            (SearchDone, manager.fasttts.on_done),
            (SearchProgress, manager.fasttts.on_progress),
            (ScoreDone, manager.fasttts.on_scores),
            (MemoryDone, manager.fasttts.on_memory),
        ]
    )


def add_routes(*_: Any, **__: Any) -> None:
    """BEFORE http_server._setup_and_run_http_server: our routes join SGLang's app."""
    from sglang.srt.entrypoints.http_server import app

    from .http.openai import take_over
    from .http.routes import router

    take_over(app)
    app.include_router(router)


SCHEDULER_HOOKS = (
    Hook(
        f"{SCHEDULER}.maybe_init_draft_worker",
        ("self",),
        HookType.AFTER,
        build_verifier,
        "load the verifier before the generator's KV pool takes the rest of the memory",
    ),
    Hook(
        f"{SCHEDULER}.init_request_dispatcher",
        ("self",),
        HookType.AFTER,
        build_runner,
        "receive search messages",
    ),
    Hook(
        f"{SCHEDULER}.run_event_loop",
        ("self",),
        HookType.BEFORE,
        freeze_garbage,
        "no garbage collection goes over what was there before",
    ),
    Hook(
        f"{SCHEDULER}.get_next_batch_to_run",
        ("self", "running_batch", "last_batch"),
        HookType.BEFORE,
        step,
        "score and decide what is complete, give slots to rows",
    ),
    Hook(
        f"{SCHEDULER}.get_new_batch_prefill",
        ("self", "running_batch"),
        HookType.AROUND,
        order_hooks.admit_what_fits,
        "rows wait for room for their step, siblings until one has brought in an evicted prefix",
    ),
    Hook(
        "sglang.srt.managers.schedule_policy.SchedulePolicy.calc_priority",
        ("self", "waiting_queue"),
        HookType.AFTER,
        order_hooks.admit_in_order,
        "rows that wait are admitted in depth-first order",
    ),
    Hook(
        f"{BATCH}._get_decode_retraction_order",
        ("reqs", "server_args"),
        HookType.AFTER,
        order_hooks.retract_in_order,
        "rows give way before requests, what is decoded ahead before all",
    ),
    Hook(
        f"{BATCH}.release_req",
        ("self", "idx"),
        HookType.BEFORE,
        order_hooks.keep_retracted,
        "what a retracted row has computed stays cached as long as there is room",
    ),
    Hook(
        f"{BATCH}.prepare_for_extend",
        ("self",),
        HookType.AFTER,
        order_hooks.count_recomputed,
        "count what is computed again after eviction",
    ),
    Hook(
        "sglang.srt.mem_cache.radix_cache.RadixCache.evict",
        ("self", "params"),
        HookType.BEFORE,
        order_hooks.evict_what_is_dead,
        "evict first what no search needs",
    ),
    Hook(
        f"{REQ}.update_finish_state",
        ("self", "new_accepted_len"),
        HookType.AROUND,
        watch_rows,
        "step boundaries; a row goes on as child 0 instead of finishing",
    ),
    Hook(
        f"{SCHEDULER}.update_running_batch",
        ("self", "batch"),
        HookType.AFTER,
        burst.plan,
        "KV slots for several steps of a batch of rows",
    ),
    Hook(
        f"{SCHEDULER}.run_batch",
        ("self", "batch"),
        HookType.AFTER,
        burst.advance,
        "the batch is behind all steps that were launched",
    ),
    Hook(
        "sglang.srt.managers.tp_worker.TpModelWorker.forward_batch_generation",
        ("self", "batch", "forward_batch", "is_verify"),
        HookType.AROUND,
        burst.launch,
        "launch several steps one behind the other; compute again as it was computed",
    ),
    Hook(
        "sglang.srt.managers.utils.GenerationBatchResult.copy_to_cpu",
        ("self",),
        HookType.BEFORE,
        burst.copy_tokens,
        "their tokens come along",
    ),
    Hook(
        f"{COMPONENTS}.batch_result_processor.SchedulerBatchResultProcessor"
        ".process_batch_result_decode",
        ("self", "batch", "result"),
        HookType.AROUND,
        decode_results.take_tokens,
        "rows cost little per token",
    ),
    Hook(
        "sglang.srt.mem_cache.common.release_kv_cache",
        ("req", "tree_cache"),
        HookType.BEFORE,
        decode_results.trim,
        "a row may hold KV slots behind its last token",
    ),
    Hook(
        f"{SCHEDULER}.abort_request",
        ("self", "recv_req"),
        HookType.AFTER,
        abort,
        "cancel a search whose client is gone",
    ),
    Hook(
        f"{SCHEDULER}.on_idle",
        ("self",),
        HookType.AFTER,
        check_verifier_pool,
        "leak check of the verifier's pool",
    ),
    Hook(
        f"{SCHEDULER}.flush_cache",
        ("self", "empty_cache"),
        HookType.AFTER,
        flush_verifier,
        "flush the verifier's radix cache too",
    ),
    Hook(
        f"{COMPONENTS}.output_streamer.SchedulerOutputStreamer.stream_output",
        ("self", "reqs"),
        HookType.BEFORE,
        hide_from_clients,
        "take finished rows, stream nothing of them",
    ),
    Hook(
        f"{COMPONENTS}.output_sender.SenderWrapper.send_output",
        ("self", "output", "recv_obj"),
        HookType.AROUND,
        keep_row_aborts,
        "an aborted row fails its search instead of an unknown client request",
    ),
    Hook(
        f"{SAMPLING}.adjusted_from_schedule_batch",
        ("self", "batch"),
        HookType.AFTER,
        seeded_sampling.seed_rows,
        "seeds per row without deterministic mode",
    ),
    Hook(
        f"{SAMPLING}.adjusted_merge_batch",
        ("self", "other"),
        HookType.AFTER,
        seeded_sampling.merge_seeds,
        "keep seeds aligned when only one side has them",
    ),
    Hook(
        "sglang.srt.layers.sampler.Sampler.forward",
        (
            "self",
            "logits_output",
            "sampling_info",
            "return_logprob",
            "top_logprobs_nums",
            "token_ids_logprobs",
            "positions",
        ),
        HookType.AROUND,
        seeded_sampling.sample_from_logits,
        "sample seeded rows without a softmax",
    ),
    Hook(
        "sglang.srt.layers.sampler.Sampler._sample_from_probs",
        ("self", "probs", "sampling_info", "positions", "simple_sampling_case"),
        HookType.AROUND,
        seeded_sampling.sample,
        "sample seeded rows, on CPU too",
    ),
)

MAIN_HOOKS = (
    Hook(
        "sglang.srt.managers.tokenizer_manager.TokenizerManager.init_request_dispatcher",
        ("self",),
        HookType.AFTER,
        route_replies,
        "deliver search results",
    ),
)

HTTP_HOOKS = (
    Hook(
        "sglang.srt.entrypoints.http_server._setup_and_run_http_server",
        ("server_args",),
        HookType.BEFORE,
        add_routes,
        "serve /fasttts/*, and searches on /v1/chat/completions and /v1/completions",
    ),
)
