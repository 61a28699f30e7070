"""Imported in a scheduler, as an algorithm: rows are decoded again, as in deterministic mode.

That mode wants a GPU. Prints how many tokens were decoded again, and of how many rows.
"""

from typing import Any

from fasttts_sglang.runtime import decoded_again
from fasttts_sglang.search.beam import beam_search as Algorithm

__all__ = ["Algorithm"]

_decode = decoded_again.decode


def _tell(runner: Any, prefill: Any, spans: Any, logits: Any) -> None:
    print("DECODED", sum(span.size for span in spans), len(spans), flush=True)
    _decode(runner, prefill, spans, logits)


decoded_again.decode = _tell
decoded_again.wanted = lambda _worker: True
