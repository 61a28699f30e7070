"""Monte Carlo tree search with the verifier's scores as values."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .aggregate import Aggregate
from .core import Expand, Finish, Node, Path, Round, Search
from .ranking import candidates


@dataclass(slots=True)
class _Visit:
    """What is known of a node: visits and the sum of the values seen below it."""

    node: Node
    visits: float = 0.0
    total: float = 0.0
    children: list[Path] = field(default_factory=list)


def mcts(
    *,
    num_beams: int,
    branch: int,
    max_steps: int,
    verify_every: int,
    exploration: float,
    aggregate: Aggregate,
) -> Search:
    """Each round, select `num_beams // branch` leaves by UCT and give each `branch` children.

    A child's value is its aggregate score, and counts for all nodes above it. Leaves of one round
    are selected one after the other, each making its path less attractive for the next (a virtual
    visit of value 0). The search ends with `num_beams` answers, when no leaf is left, or after
    `max_steps` rounds.

    Args:
        exploration: The constant of UCT; 0 always follows the best mean value.

    Returns:
        Answers, best first; if there is none, the cut and unfinished leaves.

    Source: UCT of Kocsis and Szepesvari (ECML 2006); a verifier's value in place of a roll-out as
    in rStar-Math, arXiv:2501.04519.
    """
    tree: dict[Path, _Visit] = {(): _Visit(Node(), visits=1.0)}
    answers = 0
    fanout = num_beams
    for _ in range(max_steps):
        leaves = _select(tree, max(1, num_beams // branch), exploration)
        if not leaves or answers >= num_beams:
            break
        expansions = tuple(Expand(leaf, fanout, verify_every) for leaf in leaves)
        for child in (yield Round(expansions, list)):
            _add(tree, child, aggregate(child.scores))
            answers += child.finish is Finish.EOS
        fanout = branch
    leaves = [visit.node for visit in tree.values() if not visit.children and visit.node.path]
    return candidates(leaves, aggregate)


def _select(tree: dict[Path, _Visit], count: int, exploration: float) -> list[Node]:
    """Up to `count` different leaves that can be extended, by UCT with virtual visits."""
    leaves = (v.node for v in tree.values() if not v.children and v.node.extendable)
    open_below = Counter(place for leaf in leaves for place in _up(leaf))
    virtual: Counter[Path] = Counter()

    def visits(path: Path) -> float:
        return tree[path].visits + virtual[path]

    def worth(path: Path) -> float:
        bonus = math.sqrt(math.log(visits(path[:-1]) + 1) / visits(path))
        return tree[path].total / visits(path) + exploration * bonus

    found: list[Node] = []
    while len(found) < count and open_below[()]:
        path: Path = ()
        while tree[path].children:
            options = [child for child in tree[path].children if open_below[child]]
            path = min(options, key=lambda child: (-worth(child), child))
        found.append(tree[path].node)
        for place in _up(tree[path].node):
            virtual[place] += 1
            open_below[place] -= 1
    return found


def _add(tree: dict[Path, _Visit], child: Node, value: float) -> None:
    tree[child.path] = _Visit(child)
    tree[child.path[:-1]].children.append(child.path)
    for place in _up(child):
        tree[place].visits += 1
        tree[place].total += value


def _up(node: Node) -> Iterable[Path]:
    """The paths from the root to `node`."""
    return (node.path[:depth] for depth in range(len(node.path) + 1))
