"""The least capacity with which what is admitted can still be finished."""

from collections.abc import Iterable
from typing import Any

from ..rendering import SharedTokens

ROOM_PER_ROW = 16  # tokens that a running row may still decode
_MARGIN = 2  # SGLang's admission keeps one


def generator_tokens(searches: Iterable[Any], reqs: Iterable[Any]) -> int:
    """Tokens of the longest path or request that the generator may have to hold."""
    paths = [len(search.prompt) + search.rules.budget for search in searches]
    paths += [len(req.origin_input_ids) + req.sampling_params.max_new_tokens for req in reqs]
    return max(paths, default=0) + _MARGIN


def verifier_tokens(searches: Iterable[Any], verifier: Any, busy: bool) -> int:
    """Tokens of the longest sequence that the verifier may have to hold.

    Args:
        busy: It is in the midst of something whose length only it knows: nothing may be taken.
    """
    worker = verifier.worker
    capacity = int(worker.model_runner.max_total_num_tokens)
    if busy:
        return capacity
    shared = isinstance(verifier.renderer, SharedTokens)
    most = min(worker.model_config.context_len, capacity)  # how long another text gets is not known
    longest = [
        search.scoring.problem.begin + search.rules.budget if shared else most
        for search in searches
    ]
    return max(longest, default=0) + _MARGIN
