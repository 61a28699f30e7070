"""A verifier that is a Python function: exact checkers, rules, a call of another library."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, SearchFailed
from ..verifier.function import load
from ..verifier.score_cache import ScoreCache
from .reading import Reading, ScoreJob
from .rendering import SharedTokens
from .verifier import Immediate


class FunctionVerifier(Immediate):
    """Calls the function for every step that has no score yet.

    It runs in the scheduler process between two decode steps, which wait for it.

    Args:
        name: `module:function`.
        tokenizer: The generator's.
        cache: Where scores are remembered: the function must be a function of its arguments.
    """

    def __init__(self, name: str, tokenizer: Any, cache: ScoreCache) -> None:
        self.renderer = SharedTokens()
        self.max_tokens = sys.maxsize
        self._name = name
        self._function = load(name)
        self._tokenizer = tokenizer
        self._cache = cache
        if tokenizer is None:
            raise ConfigError("--fasttts-verifier-function needs texts: no --skip-tokenizer-init")

    def path_budget(self, prompt_tokens: int, max_tokens: int) -> int:
        """Any length will do."""
        return max_tokens

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        """Fill in `scores` of every job.

        Raises:
            SearchFailed: The function raised, or returned something else than a number in [0, 1].
        """
        for job in jobs:
            for number, key in enumerate(job.keys, job.known):
                score = self._cache.get(key)
                if score is None:
                    score = self._call(job.reading, number)
                    self._cache.put(key, score)
                job.scores.append(score)

    def flush(self) -> None:
        """There is no KV; scores stay valid."""

    def pool(self) -> dict[str, int]:
        """There is none."""
        return {}

    def leak(self) -> str | None:
        """Nothing is held."""
        return None

    def _call(self, reading: Reading, number: int) -> float:
        begins = [reading.begin, *reading.ends]
        problem = reading.problem
        if problem is None:
            problem = self._text(reading, 0, reading.begin)
        steps = [self._text(reading, begins[i], begins[i + 1]) for i in range(number + 1)]
        try:
            score = float(self._function(problem, steps))
        except Exception as exc:  # whatever the user's code raises ends this search only
            raise SearchFailed(f"verifier {self._name} raised {exc!r} at step {number}") from exc
        if not (math.isfinite(score) and 0 <= score <= 1):
            raise SearchFailed(
                f"verifier {self._name} returned {score} at step {number}; it must be in [0, 1]"
            )
        return score

    def _text(self, reading: Reading, begin: int, end: int) -> str:
        text: str = self._tokenizer.decode(list(reading.ids[begin:end]), skip_special_tokens=True)
        return text
