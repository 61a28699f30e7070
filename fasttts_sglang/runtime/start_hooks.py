"""What a scheduler gets as it starts: the verifier, and what drives searches."""

import gc
from typing import Any

from ..config import FastTTSConfig


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
