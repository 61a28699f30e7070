"""How long the cached KV of a node should be kept, from what its search still needs."""

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..search.core import Path
from .order import backwards
from .step import Step
from .tree import SearchTree

_SURE = 2.0
_UNLIKELY = 0.01  # p(needed) under which a node's KV is as good as dead


class LivePath(NamedTuple):
    """A path that a search may go on from."""

    search: str
    path: Path
    ids: "array[int]"  # from the first token of the prompt
    worth: float


def worths(
    tree: SearchTree,
    nodes: Iterable[tuple[Step, bool]],
    begin: float = 0.0,
    length: float = 1.0,
) -> Iterator[float | None]:
    """What each node's tokens are worth, the larger the longer to be kept; None: nothing any more.

    A node that is not done stands for what it will be done from, its parent's tokens. What was
    asked for needs them for sure, the first of the order soonest. All else is worth the probability
    that it is needed, and nothing if that is next to none: many nodes end so, and to know them for
    dead saves looking for what to evict again and again. What lies on the way to a node is worth
    at least as much as the node.

    Args:
        nodes: Each with whether the model is done with it: has decoded it, or has scored it.
        begin, length: The search's turn among all that run, within [0, 1].
    """
    members = tree.members
    turned = backwards(tree.num_rounds)
    rank = {step: i for i, step in enumerate(reversed(members) if turned else members)}
    for step, done in nodes:
        place = rank.get(step) if step.requested else None
        if done and not step.extendable:
            yield None  # an answer, or cut off: it gets no children
        elif place is not None and not done:
            yield _SURE - begin - length * place / len(members)
        elif place is not None or not step.requested:
            chance = tree.chance(step) if done else step.p
            yield chance if chance >= _UNLIKELY else None
        else:  # a survivor of an earlier round: what lives below keeps it, or mcts may come back
            yield None if step.children else 0.0
