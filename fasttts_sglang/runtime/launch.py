"""Boots SGLang in this process with the plugin registered, checked and verified."""

import multiprocessing
from typing import Any

from sglang.srt.entrypoints.engine import Engine
from sglang.srt.plugins import load_plugins
from sglang.srt.plugins.hook_registry import HookRegistry

from ..errors import ConfigError
from . import cpu, hooks, plugin, processes
from .cpu.boot import Child
from .cpu.hooks import CPU_MAIN_HOOKS
from .hook import Hook, check, install, verify
from .uses import MAIN_USES, SCHEDULER_USES


class _Engine(Engine):
    """SGLang's engine; its child processes load our plugin whatever SGLANG_PLUGINS says."""

    run_scheduler_process_func = staticmethod(Child(processes.run_scheduler))
    run_detokenizer_process_func = staticmethod(Child(processes.run_detokenizer))


def hook_main_process(table: tuple[Hook, ...]) -> None:
    """Install `table` here. The schedulers' rows are checked too, before any process starts.

    Raises:
        IncompatibleSGLang: A target is gone, has changed, or did not take our hook.
    """
    check((*plugin.scheduler_hooks(), *MAIN_USES, *SCHEDULER_USES))
    install(table)
    load_plugins()
    HookRegistry.apply_hooks()  # load_plugins applies hooks once; an earlier engine may have run it
    verify(table)


def start_engine(server_args: dict[str, Any]) -> Engine:
    """An engine with FastTTS enabled; `FASTTTS_CONFIG` must be set."""
    hook_main_process(_main_hooks())
    try:
        return _Engine(**server_args)
    finally:
        multiprocessing.set_start_method("spawn", force=True)  # what SGLang leaves behind


def start_server(server_args: Any) -> None:
    """Serve until stopped; `FASTTTS_CONFIG` must be set."""
    from sglang.srt.entrypoints.http_server import launch_server

    check_arguments(server_args)
    hook_main_process(server_hooks())
    launch_server(server_args, **children())


def check_arguments(server_args: Any) -> None:
    """Raise ConfigError for what would leave a server without our routes or searches."""
    for name in ("dp_size", "pp_size", "tokenizer_worker_num"):
        if (value := getattr(server_args, name)) != 1:
            raise ConfigError(f"--{name.replace('_', '-')}: must be 1 with FastTTS, got {value}")


def children() -> dict[str, Any]:
    """Arguments of SGLang's `launch_server`: child processes that load our plugin for certain."""
    return {
        "run_scheduler_process_func": Child(processes.run_scheduler),
        "run_detokenizer_process_func": Child(processes.run_detokenizer),
    }


def server_hooks() -> tuple[Hook, ...]:
    """All rows that a server's main process needs on this machine."""
    return _main_hooks() + hooks.HTTP_HOOKS


def _main_hooks() -> tuple[Hook, ...]:
    return hooks.MAIN_HOOKS + (CPU_MAIN_HOOKS if cpu.active() else ())
