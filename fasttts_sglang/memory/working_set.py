"""How much KV a search wants in each round, and what is lost where it does not fit.

Siblings share their parent's path, so a round of n rows holds far fewer tokens than n paths. With
K = n / branch survivors drawn from n children, the expected number of distinct ancestors shrinks
from generation to generation: of K parents with `branch` children each, one keeps a descendant
among `a` marked children with probability 1 - (1 - a / n) ** branch. Real scores correlate along a
path, so real trees share more and the estimate errs on the large side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .workload import Workload

Floats = NDArray[np.float64]

MAX_ROUNDS = 16  # of a longer search so many are looked at, evenly spaced


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """KV tokens of a search by round; every field is an array over the rounds looked at.

    Args:
        path: Response tokens of a survivor when the round begins.
        survivors: Distinct tokens of all survivors then, with the prompt once.
        first: What one row needs until it ends its step.
        full: What all n rows need, if nothing is to be computed again.
        before: The same in the round before; 0 in the first.
    """

    path: Floats
    survivors: Floats
    first: Floats
    full: Floats
    before: Floats
    n: int

    @classmethod
    def of(cls, workload: Workload) -> "WorkingSet":
        """The working set of each round that stands for the search."""
        rounds = workload.rounds
        looked_at = np.unique(np.linspace(0, rounds - 1, min(rounds, MAX_ROUNDS)).round())
        shared = np.concatenate(([0.0], np.cumsum(_ancestors(workload))))  # steps, by round
        index = looked_at.astype(np.int64)
        n, step, prompt = workload.n, workload.step_tokens, workload.prompt_tokens
        survivors = prompt + step * shared[index]
        full = survivors + n * step
        before = np.where(index > 0, prompt + step * shared[np.maximum(index - 1, 0)] + n * step, 0)
        path = step * looked_at
        return cls(path, survivors, prompt + path + step, full, before, n)

    @property
    def tokens(self) -> float:
        """What the whole search needs, if nothing is to be computed again."""
        return float(self.full.max())

    def rows_at_once(self, tokens: Floats) -> Floats:
        """Rows that run together in `tokens` of KV, by tokens and round, in [1, n].

        In prefix order a part of the rows needs about its part of the tree, but at least one path.
        """
        if self.n == 1:
            return np.ones((len(tokens), len(self.first)))
        per_row = (self.full - self.first) / (self.n - 1)
        fit = 1 + (tokens[:, None] - self.first) / np.maximum(per_row, 1e-9)
        return np.asarray(np.clip(fit, 1, self.n))

    def lost(self, tokens: Floats) -> Floats:
        """Part of the survivors' tokens that is gone when a round begins, by tokens and round.

        What the round before wanted and did not fit was evicted, leaves first, whether it belongs
        to survivors or not: they were not known yet.
        """
        kept = tokens[:, None] / np.maximum(self.before, 1.0)
        return np.where(self.before > 0, np.clip(1 - kept, 0, 1), 0.0)


def _ancestors(workload: Workload) -> list[float]:
    """Distinct ancestors of the survivors by generations back, 0 being themselves."""
    found, part = [], 1.0  # of the K parents of a generation
    for _ in range(workload.rounds - 1):
        found.append(max(1.0, part * workload.n / workload.branch))
        part = 1 - (1 - part / workload.branch) ** workload.branch
    return found
