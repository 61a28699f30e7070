"""Every SGLang internal we touch, in one table per process role."""

from . import (
    burst,
    decode_results,
    main_hooks,
    order_hooks,
    row_hooks,
    seeded_sampling,
    start_hooks,
)
from .hook import Hook, HookType

SCHEDULER = "sglang.srt.managers.scheduler.Scheduler"
REQ = "sglang.srt.managers.schedule_batch.Req"
SAMPLING = "sglang.srt.sampling.sampling_batch_info.SamplingBatchInfo"
BATCH = "sglang.srt.managers.schedule_batch.ScheduleBatch"
COMPONENTS = "sglang.srt.managers.scheduler_components"

SCHEDULER_HOOKS = (
    Hook(
        f"{SCHEDULER}.maybe_init_draft_worker",
        ("self",),
        HookType.AFTER,
        start_hooks.build_verifier,
        "load the verifier before the generator's KV pool takes the rest of the memory",
    ),
    Hook(
        f"{SCHEDULER}.init_request_dispatcher",
        ("self",),
        HookType.AFTER,
        start_hooks.build_runner,
        "receive search messages",
    ),
    Hook(
        f"{SCHEDULER}.run_event_loop",
        ("self",),
        HookType.BEFORE,
        start_hooks.freeze_garbage,
        "no garbage collection goes over what was there before",
    ),
    Hook(
        f"{SCHEDULER}.get_next_batch_to_run",
        ("self", "running_batch", "last_batch"),
        HookType.BEFORE,
        row_hooks.step,
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
        row_hooks.watch_rows,
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
        row_hooks.abort,
        "cancel a search whose client is gone",
    ),
    Hook(
        f"{SCHEDULER}.on_idle",
        ("self",),
        HookType.AFTER,
        row_hooks.check_verifier_pool,
        "leak check of the verifier's pool",
    ),
    Hook(
        f"{SCHEDULER}.flush_cache",
        ("self", "empty_cache"),
        HookType.AFTER,
        row_hooks.flush_verifier,
        "flush the verifier's radix cache too",
    ),
    Hook(
        f"{COMPONENTS}.output_streamer.SchedulerOutputStreamer.stream_output",
        ("self", "reqs"),
        HookType.BEFORE,
        row_hooks.hide_from_clients,
        "take finished rows, stream nothing of them",
    ),
    Hook(
        f"{COMPONENTS}.output_sender.SenderWrapper.send_output",
        ("self", "output", "recv_obj"),
        HookType.AROUND,
        row_hooks.keep_row_aborts,
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
        main_hooks.route_replies,
        "deliver search results",
    ),
)

HTTP_HOOKS = (
    Hook(
        "sglang.srt.entrypoints.http_server._setup_and_run_http_server",
        ("server_args",),
        HookType.BEFORE,
        main_hooks.add_routes,
        "serve /fasttts/*, and searches on /v1/chat/completions and /v1/completions",
    ),
)
