"""Means with confidence intervals. Pure."""

import math
import random
from collections.abc import Sequence

RESAMPLES = 2000


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval over problems; the same values give the same interval.

    >>> interval([1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    rng = random.Random(0)
    count = len(values)
    means = sorted(math.fsum(rng.choices(values, k=count)) / count for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]
    return round(math.fsum(values) / count, 4), round(low, 4), round(high, 4)


def percent(value: tuple[float, float, float] | None) -> str:
    """A mean with its interval, in percent points."""
    if value is None:
        return ""
    return "{:.1f} ({:.1f} to {:.1f})".format(*(100 * x for x in value))
