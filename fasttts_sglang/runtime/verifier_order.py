"""Which jobs of the verifier wait for others, so that no prefix is computed twice in a batch."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ..scheduling.order import common
from .prefixes import look_up
from .reading import Reading, ScoreJob

_FEW = 16  # missing tokens that are rather computed twice than waited for


def front(jobs: Iterable[ScoreJob], room: int) -> list[ScoreJob]:
    """As many of `jobs`, in depth-first order, as have room for all their tokens together.

    What comes later would evict what they need, or they what it has brought in.
    """
    found: list[ScoreJob] = []
    for job in jobs:
        reading = job.reading
        room -= len(reading.ids) - (_shared(found[-1].reading, reading) if found else 0)
        if found and room < 0:
            break
        found.append(job)
    return found


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
