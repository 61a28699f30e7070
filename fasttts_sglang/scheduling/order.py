"""In which order rows are admitted, and give way, so that neighbours in the tree follow each other.

Sorting node paths is depth-first order of the prefix tree: siblings are adjacent, and what a row
shares with the next one is still cached. A round goes through the tree in the opposite direction
of the one before: it begins with what was used last, and so is cached, while a fixed direction
would begin with what was evicted first.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..search.core import Path

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A row as the order sees it."""

    search: Hashable
    turn: int  # when the row was made: the smaller, the earlier
    path: Path
    backwards: bool = False  # the direction in which its search's round goes through the tree
    requested: bool = True
    p: float = 1.0  # p(needed)


def backwards(round: int) -> bool:
    """Whether round number `round`, from 1, goes from the last path to the first."""
    return round % 2 == 0


def depth_first(rows: Sequence[Place]) -> list[int]:
    """Indices of `rows`, those to run first at the front. O(n log n).

    Searches are kept apart, the one whose oldest row waits longest first: the rows of a round are
    made together, so no search is overtaken for ever. Rows decoded ahead come after all that were
    asked for, likeliest first.

    >>> depth_first([Place("a", 0, (1, 0)), Place("b", 1, (0,)), Place("a", 2, (0, 1))])
    [2, 0, 1]
    """
    searches: dict[Hashable, list[int]] = {}
    ahead = []
    for index, row in enumerate(rows):
        if row.requested:
            searches.setdefault(row.search, []).append(index)
        else:
            ahead.append(index)
    order: list[int] = []
    for mine in sorted(searches.values(), key=lambda some: min(rows[i].turn for i in some)):
        turned = rows[mine[0]].backwards
        order += sorted(mine, key=lambda i: rows[i].path, reverse=turned)
    return order + sorted(ahead, key=lambda i: (-rows[i].p, rows[i].turn))


def reseat(queue: list[T], places: Sequence[int], order: Sequence[int]) -> None:
    """Bring the entries at `places` into `order`; nobody else's place changes.

    Args:
        places: Indices into `queue`, ascending.
        order: A permutation of range(len(places)).

    >>> queue = ["x", "b", "y", "a"]
    >>> reseat(queue, [1, 3], [1, 0])
    >>> queue
    ['x', 'a', 'y', 'b']
    """
    entries = [queue[place] for place in places]
    for place, index in zip(places, order, strict=True):
        queue[place] = entries[index]


def common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the common prefix, of two paths for example.

    >>> common((0, 1, 2), (0, 1, 3, 4))
    2
    """
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
