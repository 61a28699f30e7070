"""Which jobs of the verifier wait for others, so that no prefix is computed twice in a batch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..scheduling.order import common
from .prefixes import look_up
from .reading import Reading, ScoreJob

_FEW = 16  # missing tokens that are rather computed twice than waited for


def leaders(tree: Any, jobs: Sequence[ScoreJob]) -> list[ScoreJob]:
    """Of `jobs`, in depth-first order, those that share no missing tokens with one before them.

    The first is always among them, so whoever does these and asks again gets all done.

    Args:
        tree: The verifier's radix cache.
    """
    found = list(jobs[:1])
    for before, job in pairwise(jobs):
        reading = job.reading
        shared = min(_shared(before.reading, reading), job.begin_unknown)
        if shared <= _FEW or shared - look_up(tree, reading.ids[:shared]).total <= _FEW:
            found.append(job)
    return found


def _shared(one: Reading, other: Reading) -> int:
    """Tokens that two paths have in common: whole steps, or the problem."""
    steps = common(one.keys, other.keys)
    if steps:
        return other.ends[steps - 1]
    same = one.ids[: one.begin] == other.ids[: other.begin]
    return other.begin if same else 0
