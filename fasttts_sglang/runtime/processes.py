"""Entry points of SGLang's child processes, with our plugin loaded for certain.

SGLang finds plugins through installed package metadata and skips what `SGLANG_PLUGINS` does not
name. Whoever starts an engine through us wants this plugin, so the child loads it itself. SGLang
offers these functions as parameters for exactly this purpose.
"""

from typing import Any


def run_scheduler(*args: Any, **kwargs: Any) -> Any:
    """SGLang's `run_scheduler_process`, with FastTTS hooked in and verified."""
    from sglang.srt.managers.scheduler import run_scheduler_process
    from sglang.srt.plugins import load_plugins

    from . import plugin
    from .hook import verify

    plugin.register()
    load_plugins()  # applies what is registered
    verify(plugin.scheduler_hooks())
    return run_scheduler_process(*args, **kwargs)


def run_detokenizer(*args: Any, **kwargs: Any) -> Any:
    """SGLang's `run_detokenizer_process`; the import of this package readies a CPU machine."""
    from sglang.srt.managers.detokenizer_manager import run_detokenizer_process

    return run_detokenizer_process(*args, **kwargs)
