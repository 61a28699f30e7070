"""Hooks that only a machine without a GPU needs."""

from ..hook import Hook, HookType
from . import boot

CPU_MAIN_HOOKS = (
    Hook(
        "sglang.srt.entrypoints.engine._set_envs_and_config",
        ("server_args",),
        HookType.AFTER,
        boot.fork_children,
        "fork child processes that have their modules already",
    ),
)
