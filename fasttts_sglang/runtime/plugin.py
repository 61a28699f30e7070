"""Entry point `sglang.srt.plugins`: installed is not enabled, enabled is checked."""

import multiprocessing
import os
from typing import TYPE_CHECKING

from ..config import ENV

if TYPE_CHECKING:
    from .hook import Hook


def scheduler_hooks() -> "tuple[Hook, ...]":
    """All rows of the hook table that a scheduler process needs on this machine."""
    from . import cpu, hooks

    if not cpu.active():
        return hooks.SCHEDULER_HOOKS
    from .cpu.hooks import CPU_SCHEDULER_HOOKS

    return hooks.SCHEDULER_HOOKS + CPU_SCHEDULER_HOOKS


def register() -> None:
    """Register our hooks in this process if a FastTTS configuration is present.

    SGLang calls it in the main process and in every scheduler, and logs and swallows an
    Exception. A server that looks healthy but does not search is worse than none, so a refusal
    is a SystemExit.
    """
    if ENV not in os.environ:
        return
    from ..errors import IncompatibleSGLang
    from . import hooks
    from .hook import install

    in_main = multiprocessing.parent_process() is None
    try:
        install(hooks.MAIN_HOOKS if in_main else scheduler_hooks())
    except IncompatibleSGLang as exc:
        raise SystemExit(f"fasttts: {exc}") from exc
