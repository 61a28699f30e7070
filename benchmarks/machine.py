"""How fast a machine decodes and scores: what the limit of a search is computed from."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from .measures import limit_s
from .workload import Work

Generate = Callable[[list[list[int]], dict[str, Any]], Any]
"""Ordinary generation for prompts of token ids, with one set of sampling parameters."""

_LONG, _SHORT = 64, 16  # tokens; the difference of the two times has no prefill in it
_BATCH, _LENGTH = 64, 256  # sequences and their tokens, to see how fast the verifier reads


@dataclass(frozen=True, slots=True)
class Machine:
    """Measured rates. Of several measurements the fastest counts, since a limit comes of it."""

    step_s: dict[int, float]  # rows to seconds of one decode step
    verifier_tokens_per_s: float | None  # None: not measured

    def limits(self, n: int, work: Work) -> dict[str, float]:
        """`limit_s` and `bound_s` of a search with n beams.

        The limit takes the decode step at n rows. A system may decode its last stragglers in a
        smaller and faster batch; the bound allows for that and takes the fastest step measured.

        >>> machine = Machine({8: 0.002, 64: 0.004}, 1e5)
        >>> machine.limits(64, Work((), tokens=9600, chain_tokens=500, verifier_tokens=9800))
        {'limit_s': 2.0, 'bound_s': 1.0}
        """
        peak = max(rows / step for rows, step in self.step_s.items())
        scoring = (work.verifier_tokens, self.verifier_tokens_per_s)
        fastest = min(self.step_s.values())
        return {
            "limit_s": limit_s(work.chain_tokens, self.step_s[n], work.tokens, peak, *scoring),
            "bound_s": limit_s(work.chain_tokens, fastest, work.tokens, peak, *scoring),
        }

    def covers(self, rows: Iterable[int]) -> bool:
        """Whether a decode step was measured at all these numbers of rows."""
        return set(rows) <= set(self.step_s)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Rebuild from the JSON form, whose keys are text."""
        steps = {int(rows): step for rows, step in raw["step_s"].items()}
        return cls(steps, raw["verifier_tokens_per_s"])


def step_s(generate: Generate, rows: int, prompt_tokens: int) -> float:
    """Seconds of one decode step with `rows` rows: the fastest of three long runs less a short.

    All rows have one prompt, as a search's have, so that they fit where memory is short.
    """
    prompts = [[5 + i * i % 90 for i in range(prompt_tokens)]] * rows

    def run(tokens: int) -> float:
        params = {"max_new_tokens": tokens, "ignore_eos": True, "temperature": 1.0}
        began = time.perf_counter()
        generate(prompts, params)
        return time.perf_counter() - began

    run(4)
    short, long = (min(run(tokens) for _ in range(3)) for tokens in (_SHORT, _LONG))
    return max(long - short, 1e-6) / (_LONG - _SHORT)  # a busy machine can turn them around


def verifier_rate(score: Callable[[list[list[int]]], Any], flush: Callable[[], None]) -> float:
    """Tokens per second of cold sequences that are scored in one call, the best of three."""
    sequences = [[5 + (11 * i + j * (i + 1)) % 90 for j in range(_LENGTH)] for i in range(_BATCH)]
    times = []
    for _ in range(3):
        flush()
        began = time.perf_counter()
        score(sequences)
        times.append(time.perf_counter() - began)
    return _BATCH * _LENGTH / min(times)
