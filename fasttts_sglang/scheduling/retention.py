"""How long the cached KV of a node should be kept, from what its search still needs."""

import math
from collections.abc import Callable, Iterator, Sequence

from .order import backwards
from .tree import SearchTree, Step

# What is asked for and not done is needed for sure, the first of the order soonest; a node whose
# round is not decided only if it survives; one decoded ahead only with its p(needed).
_SOON = 2.0
_MAYBE = 1.0


def worths(
    tree: SearchTree, steps: Sequence[Step], done: Callable[[Step], bool], *, alternate: bool
) -> Iterator[float | None]:
    """What each node's tokens are worth, the larger the longer to be kept; None: nothing any more.

    A node that is not done stands for what it will be done from, its parent's tokens. What lies on
    the way to a node is worth at least as much as the node.

    Args:
        done: Whether a model has finished with a node: decoded it, or scored it.
        alternate: Whether rounds alternate their direction.
    """
    members = tree.members
    turned = alternate and backwards(tree.num_rounds)
    rank = {step.path: i for i, step in enumerate(reversed(members) if turned else members)}
    for step in steps:
        place = rank.get(step.path)
        if done(step) and not step.extendable:
            yield None  # an answer, or cut off: it gets no children
        elif place is None:  # a survivor of an earlier round, to which mcts may come back
            yield 0.0 if step.requested else min(step.p, 0.99)
        elif not done(step):
            yield _SOON + 1 - place / len(members)
        else:
            yield _MAYBE + _chance(step.value)


def _chance(value: float) -> float:
    """In (0, 1), rising with the logit of a score."""
    return 0.5 if math.isnan(value) else 1 / (1 + math.exp(-value))
