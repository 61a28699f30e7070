"""p(needed): how probable it is that a search will ask for a node, from the scores so far."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np

from ..search.core import Finish, Path
from ..search.params import Speculation
from .estimate import FIRST_STD, Field, ScoreModel
from .slots import FLOOR
from .step import Step

MAX_AHEAD = 6  # rounds that are looked ahead
UNLIKELY = FLOOR / 2  # children of a node with less are not considered: no row decodes them
DISCOUNT = 0.8  # of what a node is worth, for every round that there is still time for it


class Outlook:
    """What one search will probably do next."""

    def __init__(self) -> None:
        self._model = ScoreModel()
        self._chance: dict[Path, float] = {}  # of a node to be asked for and to survive

    def observe(self, step: Step) -> None:
        """`step` has got its score."""
        if step.parent is not None and step.parent.path:
            self._model.observe(step.parent.value, step.value)

    def chance(self, step: Step) -> float:
        """How likely a live node will be expanded: asked for, and among its round's survivors."""
        chance = self._chance.get(step.path)
        if chance is not None:
            return chance
        return step.p / step.fanout if step.fanout else 0.0

    def estimate(self, members: Sequence[Step], places: int, levels: int = MAX_AHEAD) -> None:
        """Estimate, level by level, how likely each node is to be asked for and to survive.

        Args:
            members: Nodes of the round that runs, in path order.
            places: How many of a round survive.
        """
        self._chance = {}
        line = self._model.line()
        # per level: the node, its weight and the prediction of its value
        level = [
            (step, 1.0, *prediction)
            for parent, siblings in groupby(members, key=attrgetter("parent"))
            for prediction in (self._predict(parent, line),)
            for step in siblings
        ]
        for depth in range(levels):
            racing = [entry for entry in level if entry[0].extendable]
            if not racing or places == 0:
                return
            columns = np.array([(w, s.value, mean, std) for s, w, mean, std in racing]).T
            chances = Field(*columns).survival(places) * columns[0]
            level = []
            for (step, *_), chance in zip(racing, chances.tolist(), strict=True):
                self._chance[step.path] = chance
                if depth + 1 < levels and chance >= UNLIKELY and step.complete:
                    prediction = self._predict(step, line)
                    for index in range(step.fanout):
                        child = step.child(index)
                        child.fanout = step.fanout
                        level.append((child, chance, *prediction))

    def open(self, step: Step, mode: Speculation) -> list[Step]:
        """The children that `step` will have if it survives, as far as they can be decoded."""
        if not step.complete or step.finish is not Finish.STOP or step.fanout == 0:
            return []
        if mode is Speculation.PAPER:
            if not step.requested:
                return []
            child, before = step.child(0), step.parent
            scored = before is not None and before.path
            child.p = _probability(before.value) if before is not None and scored else 0.5
            child.ahead, child.worth = 1, child.p
            return [child]
        chance = self.chance(step)
        if chance < UNLIKELY:
            return []
        found = []
        ahead = 1 if step.requested else step.ahead + 1
        worth = chance * DISCOUNT ** (ahead - 1)
        for index in range(step.fanout):
            child = step.child(index)
            if not child.requested:
                child.p, child.worth = chance, worth
                child.ahead, child.fanout = ahead, step.fanout
            found.append(child)
        return found

    def _predict(
        self, parent: Step | None, line: tuple[float, float, float]
    ) -> tuple[float, float]:
        """Mean and standard deviation of the value of a child of `parent`."""
        intercept, slope, std = line
        if parent is None or not parent.path:
            return intercept, FIRST_STD
        if parent.node is not None:
            return intercept + slope * parent.value, std
        mean, below = self._predict(parent.parent, line)
        return intercept + slope * mean, float(np.hypot(std, slope * below))


def _probability(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
