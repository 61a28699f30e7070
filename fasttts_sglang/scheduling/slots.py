"""Which nodes that nobody asked for yet get the idle decode slots."""

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import NamedTuple

FLOOR = 0.2  # worth under which a slot stays idle: decoding costs energy and cache room
FLOOR_SHORT = 0.5  # at least, where memory is short: what is decoded in vain evicts what is needed
_EVEN = 400  # beams with which a token in vain costs what one decoded early saves
WORTH_PREFILL = 0.5  # the same for a node before which evicted tokens must be computed again
WORTH_SWAPPING = 0.3  # a running row gives way to a node worth that much more


def floor_for(n: int) -> float:
    """Worth under which a slot stays idle in a search of n beams.

    A token decoded early saves a share of a step's fixed time, and that share is the smaller the
    more beams there are. One in vain costs its own part of a step and of the verifier's time.

    >>> [round(floor_for(n), 2) for n in (8, 64, 128, 256, 512)]
    [0.2, 0.2, 0.24, 0.39, 0.56]

    Source: `python -m benchmarks.simulate`; the best of several floors with three pairs of models.
    """
    return max(FLOOR, n / (n + _EVEN))


class Choice(NamedTuple):
    """What changes: running nodes to end, and others to start, best first."""

    end: list[int]  # indices into `running`
    start: list[int]  # indices into `waiting`


def choose(
    running: Sequence[float], waiting: Sequence[float], room: int, floor: float = FLOOR
) -> Choice:
    """Fill `room` slots by what nodes are worth: p(needed), less for what is needed late.

    Args:
        running: worth of the nodes that are decoded ahead of need now.
        waiting: worth of those that could be; ties go to the earlier.
        room: Slots that no requested node needs.
        floor: Nothing worth less is started.

    A node that runs keeps its slot unless it has become useless, the room has shrunk, or one is
    waiting that is worth much more: what it has decoded so far is worth something.

    >>> choose([0.9, 0.1], [0.5, 0.6], room=2)
    Choice(end=[1], start=[1])
    >>> choose([], [0.4, 0.6], room=2, floor=FLOOR_SHORT)
    Choice(end=[], start=[1])
    """
    by_worth = sorted(range(len(running)), key=lambda i: -running[i])
    stay = [i for i in by_worth[: max(0, room)] if running[i] >= floor / 2]
    order = sorted(range(len(waiting)), key=lambda i: -waiting[i])
    start: list[int] = []
    for i in order:
        if waiting[i] < floor:
            break
        if len(stay) + len(start) < room:
            start.append(i)
        elif stay and waiting[i] > running[stay[-1]] + WORTH_SWAPPING:
            stay.pop()
            start.append(i)
        else:
            break
    kept = set(stay)
    return Choice([i for i in range(len(running)) if i not in kept], start)


def how_many(needs: Sequence[int], room: float, places: int, few: float) -> int:
    """How many of the first rows to prefill in one forward; none if there are less than `few`.

    Args:
        needs: KV slots that each will take.
        room: KV slots there are.
        places: Rows there may be.

    >>> how_many([40, 50, 30], room=100, places=8, few=2)
    2
    >>> how_many([40, 50, 30], room=100, places=8, few=3)
    0
    """
    fitting = takewhile(lambda taken: taken <= room, accumulate(needs[: max(0, places)]))
    number = sum(1 for _ in fitting)
    return number if number >= few else 0
