"""p(needed): how probable it is that a search will ask for a node, from the scores so far."""

import math
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from ..search.core import Finish
from ..search.params import Speculation
from .estimate import FIRST_STD, ScoreModel, Siblings, survival
from .step import Step

MAX_AHEAD = 6  # rounds that are looked at, with that which runs
DISCOUNT = 0.8  # of what a node is worth, for every round that there is still time for it


class Outlook:
    """What one search will probably do next.

    Args:
        floor: What is worth less is not decoded.
    """

    def __init__(self, floor: float) -> None:
        self._unlikely = floor / 2  # children of a node with less are not considered
        self._model = ScoreModel()
        self._chance: dict[Step, float] = {}  # of a node to be asked for and to survive

    def observe(self, step: Step) -> None:
        """`step` has got its score."""
        if step.parent is not None and step.parent.path:
            self._model.observe(step.parent.value, step.value)

    def chance(self, step: Step) -> float:
        """How likely a live node will be expanded: asked for, and among its round's survivors."""
        chance = self._chance.get(step)
        if chance is not None:
            return chance
        return step.p / step.fanout if step.fanout else 0.0

    def estimate(self, members: Sequence[Step], places: int, levels: int = MAX_AHEAD) -> list[Step]:
        """Estimate, level by level, how likely each node is to be asked for and to survive.

        Args:
            members: Nodes of the round that runs, in path order.
            places: How many of a round survive.

        Returns:
            The children, complete or not, of nodes that are complete and likely enough; those of
            the nearest rounds first.
        """
        self._chance = {}
        line = self._model.line()
        # per level: siblings, how likely they are asked for, and the prediction of their values
        level = [
            (list(siblings), 1.0, self._predict(parent, line))
            for parent, siblings in groupby(members, key=attrgetter("parent"))
        ]
        ahead: list[Step] = []
        for depth in range(1, levels + 1):
            racing, field = [], []
            for siblings, weight, prediction in level:
                if steps := [step for step in siblings if step.extendable]:
                    racing += steps
                    field.append(Siblings(weight, *prediction, [step.value for step in steps]))
            if not racing or places == 0:
                break
            level = []
            for step, chance in zip(racing, survival(field, places).tolist(), strict=True):
                self._chance[step] = chance
                if depth < levels and chance >= self._unlikely and step.complete:
                    children = _children(step, chance, depth)
                    level.append((children, chance, self._predict(step, line)))
                    if _worth(chance, depth) >= self._unlikely:
                        ahead += children
        return ahead

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
        if chance < self._unlikely:
            return []
        return _children(step, chance, 1 if step.requested else step.ahead + 1)

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
        return intercept + slope * mean, math.hypot(std, slope * below)


def _children(step: Step, chance: float, ahead: int) -> list[Step]:
    """All children of `step`, which survives so likely; asked for in so many rounds."""
    found = [step.child(index) for index in range(step.fanout)]
    worth = _worth(chance, ahead)
    for child in found:
        if not child.requested:
            child.p, child.worth = chance, worth
            child.ahead, child.fanout = ahead, step.fanout
    return found


def _worth(chance: float, ahead: int) -> float:
    """Of decoding now what will be asked for so likely, in so many rounds."""
    return chance * DISCOUNT ** (ahead - 1)


def _probability(value: float) -> float:
    return 1 / (1 + math.exp(-value))
