"""Private names of SGLang that we use without patching them, in one table per process role."""

from types import MemberDescriptorType

from .hook import Use

_MANAGERS = "sglang.srt.managers"
_COMPONENTS = f"{_MANAGERS}.scheduler_components"
_RADIX = "sglang.srt.mem_cache.radix_cache.RadixCache"
_SAMPLER = "sglang.srt.layers.sampler.Sampler"
_GRAPHS = "sglang.srt.model_executor.runner.decode_cuda_graph_runner.DecodeCudaGraphRunner"

_CONTEXT = "sglang.srt.runtime_context"
_PUBLISHED = (
    "RuntimeContext._server_args",
    "RuntimeContext._config_bags",
    "RuntimeContext._overrides_log",
    "RuntimeContext._publish_role",
    "ParallelContext._config",
)

SCHEDULER_USES = (
    *(
        Use(f"{_CONTEXT}.{name}", MemberDescriptorType, "the verifier's own server args")
        for name in _PUBLISHED
    ),
    Use(
        "sglang.srt.model_executor.input_buffers._forward_input_buffer_pool",
        dict,
        "the verifier, which runs beside the generator, takes none of its input buffers",
    ),
    Use(f"{_MANAGERS}.utils._async_d2h", ("t",), "a burst's tokens come along with the last ones"),
    Use(
        f"{_MANAGERS}.scheduler.Scheduler._set_or_validate_priority",
        ("self", "req"),
        "a row waits with the priority that a request has",
    ),
    Use(
        f"{_MANAGERS}.schedule_batch.Req._refresh_fill_ids",
        ("self",),
        "a row that is forked knows its tokens",
    ),
    Use(
        f"{_COMPONENTS}.batch_result_processor.SchedulerBatchResultProcessor"
        "._handle_finish_state_updated_req",
        ("self", "req", "batch", "result", "i", "logits_output"),
        "a row that ends is let go as any request",
    ),
    Use(
        f"{_COMPONENTS}.invariant_checker.SchedulerInvariantChecker._report_leak",
        ("self", "pool_name", "token_msg"),
        "a leak of the verifier's pool is reported as one of the generator's",
    ),
    Use(
        f"{_SAMPLER}._preprocess_logits",
        ("self", "logits", "sampling_info"),
        "logits are sampled as SGLang would have prepared them",
    ),
    Use(
        f"{_SAMPLER}._sync_token_ids_across_tp",
        ("self", "batch_next_token_ids", "sampling_info"),
        "all ranks take the same tokens",
    ),
    Use(
        f"{_GRAPHS}._capture_graph_size",
        ("self", "bs", "num_tokens"),
        "a burst's graphs stand between replays of the decode graph of their batch size",
    ),
    Use(f"{_GRAPHS}._make_graph_key", ("self", "size"), "likewise"),
    Use(
        "sglang.srt.layers.attention.triton_backend.TritonAttnBackend._apply_cuda_graph_metadata",
        ("self", "bs", "req_pool_indices", "seq_lens", "forward_mode", "spec_info"),
        "a burst's further steps attend to one token more",
    ),
    Use(
        f"{_RADIX}._insert_helper",
        ("self", "node", "key", "value", "priority"),
        "KV of a step is cached below its parent's node",
    ),
    Use(
        f"{_RADIX}._update_leaf_status",
        ("self", "node"),
        "what a row has cached can be evicted once nobody holds it",
    ),
    Use(
        "sglang.srt.models.qwen2.Qwen2ForCausalLM._legacy_load_weights",
        ("self", "weights"),
        "reward models load as the model that they are made of",
    ),
)

MAIN_USES = (
    Use(
        f"{_MANAGERS}.tokenizer_manager.TokenizerManager._dispatch_to_scheduler",
        ("self", "obj"),
        "searches go the way of requests",
    ),
)
