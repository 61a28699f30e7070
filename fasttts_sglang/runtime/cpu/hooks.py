"""Hooks that only a machine without a GPU needs."""

from ..hook import Hook, HookType
from . import attention, boot

BACKEND = "sglang.srt.layers.attention.torch_native_backend.TorchNativeAttnBackend"

_NEEDS = ("query", "output", "k_cache", "v_cache", "seq_lens", "encoder_lens", "scaling", "causal")

CPU_SCHEDULER_HOOKS = (
    Hook(
        f"{BACKEND}.init_forward_metadata",
        ("self", "forward_batch"),
        HookType.AFTER,
        attention.plan_batch,
        "look up once per batch what all layers need",
    ),
    Hook(
        f"{BACKEND}._run_sdpa_forward_decode",
        _NEEDS,
        HookType.AROUND,
        attention.attend,
        "decode all rows of a batch in one call",
    ),
    Hook(
        f"{BACKEND}._run_sdpa_forward_extend",
        _NEEDS,
        HookType.AROUND,
        attention.attend,
        "extend rows without recomputing the queries of their cached prefix",
    ),
)

CPU_MAIN_HOOKS = (
    Hook(
        "sglang.srt.entrypoints.engine._set_envs_and_config",
        ("server_args",),
        HookType.AFTER,
        boot.fork_children,
        "fork child processes that have their modules already",
    ),
)
