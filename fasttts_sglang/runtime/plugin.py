"""Entry point `sglang.srt.plugins`: installed is not enabled, enabled is checked."""

import multiprocessing
import os

from ..config import ENV


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
        install(hooks.MAIN_HOOKS if in_main else hooks.SCHEDULER_HOOKS)
    except IncompatibleSGLang as exc:
        raise SystemExit(f"fasttts: {exc}") from exc
