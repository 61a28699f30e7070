"""Imported by the fork server: what SGLang's child processes need, before they exist.

A failure costs only the head start: the child imports for itself and reports it.
"""

import logging

from . import boot, install_fallbacks

boot.relay_quit()
install_fallbacks()
try:
    import sglang.srt.managers.detokenizer_manager
    import sglang.srt.managers.scheduler  # noqa: F401
    from sglang.srt.utils import kill_itself_when_parent_died

    from .. import hooks, processes, search_runner, verifier_runner  # noqa: F401

    # SGLang's processes die with their parent, which is this one; so it must die with its own
    kill_itself_when_parent_died()
except Exception:
    logging.getLogger(__name__).debug("no head start", exc_info=True)
