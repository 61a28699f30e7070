"""How likely a node survives its round, from the scores that are there already.

Scores are treated as logits. A child's is predicted from its parent's by a line that each search
fits to its own scores as they come in; what has no score yet is a normal variable around it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

_PRIOR_WEIGHT = 4.0  # observations that the prior of the line counts for
_PRIOR_SLOPE = 0.8
_PRIOR_STD = 1.0
FIRST_STD = 1.5  # of scores without a parent
_GRID = np.linspace(-8, 8, 65)
_LARGEST = 12.0


def logit(score: float) -> float:
    """Logit of a probability, within [-12, 12].

    >>> logit(0.5), logit(1.0)
    (0.0, 12.0)
    """
    if not 0 < score < 1:
        return math.copysign(_LARGEST, score - 0.5)
    return max(-_LARGEST, min(_LARGEST, math.log(score / (1 - score))))


class ScoreModel:
    """child = intercept + slope * parent + noise; a ridge regression that learns as scores come."""

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = self._yy = 0.0

    def observe(self, parent: float, child: float) -> None:
        """A child of logit `child` was scored; its parent had `parent`."""
        self._n += 1
        self._x += parent
        self._y += child
        self._xx += parent * parent
        self._xy += parent * child
        self._yy += child * child

    def line(self) -> tuple[float, float, float]:
        """Intercept, slope and standard deviation of the noise."""
        n = self._n
        if n == 0:
            return 0.0, _PRIOR_SLOPE, _PRIOR_STD
        mean_x, mean_y = self._x / n, self._y / n
        var_x = self._xx / n - mean_x**2
        cov = self._xy / n - mean_x * mean_y
        trust = n / (n + _PRIOR_WEIGHT)
        slope = (n * cov + _PRIOR_WEIGHT * _PRIOR_SLOPE) / (n * var_x + _PRIOR_WEIGHT)
        intercept = trust * (mean_y - slope * mean_x)
        rest = max(0.0, self._yy / n - mean_y**2 - 2 * slope * cov + slope**2 * var_x)
        var = (n * rest + _PRIOR_WEIGHT * _PRIOR_STD**2) / (n + _PRIOR_WEIGHT)
        return intercept, slope, math.sqrt(var)


class Siblings(NamedTuple):
    """Nodes of one parent that compete in a round.

    weight: probability that they take part at all.
    mean, std: what the logits of their scores are predicted to be.
    values: these logits, nan where there is no score yet.
    """

    weight: float
    mean: float
    std: float
    values: list[float]


def survival(field: Sequence[Siblings], places: float) -> Array:
    """How likely each node, of one parent after the other, takes part and is in the best `places`.

    >>> scored, other = [1.0, -3.0], [math.nan]
    >>> survival([Siblings(1.0, 0.0, 1.0, scored), Siblings(0.5, 0.0, 1.0, other)], 1).round(2)
    array([0.89, 0.04, 0.13])
    """
    weight, mean, std, size = np.array([(*s[:3], len(s.values)) for s in field]).T
    parent = np.repeat(np.arange(len(field)), size.astype(int))
    takes_part: Array = weight[parent]
    if weight @ size <= places:
        return takes_part
    value = np.array([value for siblings in field for value in siblings.values])
    known = ~np.isnan(value)
    # per grid point: how likely a node without a score lands below it, the number of nodes expected
    # above it, the variance of that number, and how likely a node with that value survives
    below = _cdf((_GRID - mean[:, None]) / std[:, None])
    above, var = _above(value[known], takes_part[known])
    unknown = np.bincount(parent[~known], minlength=len(field))
    chance = weight[:, None] * (1 - below)
    above += unknown @ chance
    var += unknown @ (chance * (1 - chance))
    survives = _cdf((places - 0.5 - above) / np.sqrt(var + 0.05))
    # one without a score: the mean of that over where it may land
    found = (survives[-1] - below[:, :-1] @ np.diff(survives))[parent]
    found[known] = np.interp(value[known], _GRID, survives)
    takes_part *= found
    return takes_part


def _above(values: Array, weights: Array) -> tuple[Array, Array]:
    """Expected number of nodes above every grid point, and the variance of that number."""
    order = np.argsort(values)
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    spread = np.concatenate([[0.0], np.cumsum((weights * (1 - weights))[order])])
    at = np.searchsorted(values[order], _GRID, side="right")
    return total[-1] - total[at], spread[-1] - spread[at]


def _cdf(x: Array) -> Array:
    """Normal distribution function, by its logistic approximation (off by less than 0.01)."""
    below: Array = 1 / (1 + np.exp(-1.702 * np.clip(x, -20, 20)))
    return below
