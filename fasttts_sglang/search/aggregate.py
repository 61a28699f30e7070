"""From the scores of a path's steps to one score."""

import math
from collections.abc import Callable, Sequence

Aggregate = Callable[[Sequence[float]], float]


def last(scores: Sequence[float]) -> float:
    """The latest step's score: what the verifier thinks of the path as a whole."""
    return scores[-1] if scores else 1.0


def worst(scores: Sequence[float]) -> float:
    """The weakest step: a chain is as good as that."""
    return min(scores, default=1.0)


def product(scores: Sequence[float]) -> float:
    """Steps as independent chances to be right; favours short paths."""
    return math.prod(scores)


def mean(scores: Sequence[float]) -> float:
    """The average step; a single bad one weighs little."""
    return math.fsum(scores) / len(scores) if scores else 1.0


AGGREGATIONS: dict[str, Aggregate] = {
    "last": last,
    "min": worst,
    "prod": product,
    "mean": mean,
}
