"""Entry point `sglang.srt.plugins`: installed is not enabled, enabled is checked."""

import multiprocessing
import os
import sys
from typing import TYPE_CHECKING

from ..config import ENV, OFF, PREFIX, FastTTSConfig

if TYPE_CHECKING:
    from .hook import Hook


def scheduler_hooks() -> "tuple[Hook, ...]":
    """All rows of the hook table that a scheduler process needs on this machine."""
    from . import cpu, hooks

    table: tuple[Hook, ...] = hooks.SCHEDULER_HOOKS
    if cpu.active():
        from .cpu.hooks import CPU_SCHEDULER_HOOKS

        table += CPU_SCHEDULER_HOOKS
    config = FastTTSConfig.from_env() if ENV in os.environ else FastTTSConfig()
    if config.shared_attention and not cpu.active():
        from .shared_attention import SHARED_ATTENTION_HOOKS

        table += SHARED_ATTENTION_HOOKS
    if config.kv_resize != OFF:
        from .pools.hooks import POOL_HOOKS

        table += POOL_HOOKS
    if config.host_offload != OFF:
        from .offload_hooks import OFFLOAD_HOOKS

        table += OFFLOAD_HOOKS
    return table


def register() -> None:
    """Register our hooks in this process if it has a FastTTS configuration or our flags.

    SGLang calls it in the main process and in every scheduler, and logs and swallows an
    Exception. A server that looks healthy but does not search is worse than none, so a refusal
    is a SystemExit. `sglang serve` with our flags configures us here.
    """
    in_main = multiprocessing.parent_process() is None
    if ENV in os.environ:
        _install(in_main)
    elif in_main and any(arg.startswith(PREFIX) for arg in sys.argv):
        from . import cpu

        cpu.prepare()  # before anything of sglang.srt is imported
        from . import launch, stock_cli

        stock_cli.enable(sys.argv[1:])
        _install(in_main, (*launch.server_hooks(), *stock_cli.HOOKS))


def _install(in_main: bool, table: "tuple[Hook, ...] | None" = None) -> None:
    from ..errors import IncompatibleSGLang
    from . import hooks
    from .hook import check, install
    from .uses import MAIN_USES, SCHEDULER_USES

    if table is None:
        table = hooks.MAIN_HOOKS if in_main else scheduler_hooks()
    try:
        check(MAIN_USES if in_main else SCHEDULER_USES)
        install(table)
    except IncompatibleSGLang as exc:
        raise SystemExit(f"fasttts: {exc}") from exc
