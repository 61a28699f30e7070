"""How likely a node survives its round, from the scores that are there already.

Scores are treated as logits. A child's is predicted from its parent's by a line that each search
fits to its own scores as they come in; what has no score yet is a normal variable around it.
"""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray[tuple[int], np.dtype[np.float64]]

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


@dataclass(slots=True)
class Field:
    """The nodes that compete in one round; every array has one entry per node.

    weight: probability that the node takes part at all.
    value: logit of its score, nan if it has none yet.
    mean, std: what it is predicted to be.
    """

    weight: Array
    value: Array
    mean: Array
    std: Array

    def survival(self, places: float) -> Array:
        """Probability of every node to be among the best `places`, given that it takes part."""
        if float(self.weight.sum()) <= places:
            return np.ones_like(self.weight)
        known = ~np.isnan(self.value)
        above, var = self._rivals(known)
        ahead = np.clip((places - 0.5 - above) / np.sqrt(var + 0.05), -8, 8)
        chance = _cdf(ahead)  # of a node with that value, per grid point
        result = np.empty_like(self.weight)
        result[known] = np.interp(self.value[known], _GRID, chance)
        # an unknown one: the average of that chance over where it may land
        mean, std = self.mean[~known, None], self.std[~known, None]
        below = _cdf((_GRID[1:] - mean) / std)
        mass = np.diff(below, axis=1, prepend=0.0)
        result[~known] = mass @ chance[1:] + (1 - below[:, -1]) * chance[-1]
        return result

    def _rivals(self, known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Array, Array]:
        """Expected number of nodes above every grid point, and the variance of that number."""
        values, weights = self.value[known], self.weight[known]
        order = np.argsort(values)
        total = np.concatenate([[0.0], np.cumsum(weights[order])])
        spread = np.concatenate([[0.0], np.cumsum((weights * (1 - weights))[order])])
        at = np.searchsorted(values[order], _GRID, side="right")
        above, var = total[-1] - total[at], spread[-1] - spread[at]
        mean, std, weight = self.mean[~known, None], self.std[~known, None], self.weight[~known]
        chance = weight[:, None] * (1 - _cdf((_GRID - mean) / std))
        return above + chance.sum(0), var + (chance * (1 - chance)).sum(0)


def _cdf(x: np.ndarray) -> np.ndarray:
    """Normal distribution function, by its logistic approximation (off by less than 0.01)."""
    return 1 / (1 + np.exp(-1.702 * np.clip(x, -20, 20)))
