"""How nodes are compared: by score, then by path, never by arrival."""

from collections.abc import Iterable

from .aggregate import Aggregate
from .core import Finish, Node


def best_first(nodes: Iterable[Node], aggregate: Aggregate) -> list[Node]:
    """Nodes by descending aggregate score; ties by path."""
    return sorted(nodes, key=lambda node: (-aggregate(node.scores), node.path))


def candidates(nodes: Iterable[Node], aggregate: Aggregate) -> list[Node]:
    """Nodes a search may return, best first: answers, or if there is none whatever it has.

    A path that was cut is neither lost nor taken for an answer.
    """
    ranked = best_first(nodes, aggregate)
    return [node for node in ranked if node.finish is Finish.EOS] or ranked
