"""Every search algorithm once more, written to be read and not to be fast.

Each takes `grow(node, indices)`, which returns the scored children of a node with those indices,
and returns its candidates, best first. Nothing is shared with `fasttts_sglang.search` but nodes,
aggregates and the hash of seeds.
"""

import math
from collections.abc import Callable, Iterable

from fasttts_sglang.search.core import Finish, Node
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.seeds import child_seed

Grow = Callable[[Node, Iterable[int]], list[Node]]
Score = Callable[[Node], float]


def best_first(nodes: Iterable[Node], score: Score) -> list[Node]:
    return sorted(nodes, key=lambda node: (-score(node), node.path))


def answers_or_all(nodes: list[Node], score: Score) -> list[Node]:
    answers = [node for node in nodes if node.finish is Finish.EOS]
    return best_first(answers or nodes, score)


def best_of_n(grow: Grow, p: SearchParams, score: Score) -> list[Node]:
    return answers_or_all(grow(Node(), range(p.n)), score)


def beam(grow: Grow, p: SearchParams, score: Score) -> list[Node]:
    beams, done = [Node()], []
    for depth in range(p.max_steps):
        width = p.n if depth == 0 else p.branch
        children = [child for node in beams for child in grow(node, range(width))]
        done += [child for child in children if child.finish is not Finish.STOP]
        open_ = [child for child in children if child.finish is Finish.STOP]
        beams = best_first(open_, score)[: p.n // p.branch]
        if len([node for node in done if node.finish is Finish.EOS]) >= p.n:
            break
    return answers_or_all(done + beams, score)


def dvts(grow: Grow, p: SearchParams, score: Score) -> list[Node]:
    """Each subtree on its own, one after the other."""
    leaves = []
    for subtree in range(p.n // p.branch):
        first = range(subtree * p.branch, (subtree + 1) * p.branch)
        leaf = Node()
        for depth in range(p.max_steps):
            children = best_first(grow(leaf, first if depth == 0 else range(p.branch)), score)
            whole = [child for child in children if child.finish is not Finish.LENGTH]
            leaf = (whole or children)[0]
            if leaf.finish is not Finish.STOP:
                break
        leaves.append(leaf)
    return answers_or_all(leaves, score)


def shared(grow: Grow, p: SearchParams, score: Score) -> list[Node]:
    """dynamic_branching, rebase and particle_filter: they differ in who gets how many children."""
    widths, done = [(Node(), p.n)], []
    for depth in range(p.max_steps):
        children = [child for node, width in widths for child in grow(node, range(width))]
        done += [child for child in children if child.finish is not Finish.STOP]
        places = p.n - len([node for node in done if node.finish is Finish.EOS])
        open_ = best_first([c for c in children if c.finish is Finish.STOP], score)
        counts = WIDTHS[p.algorithm]([score(node) for node in open_], places, depth, p)
        widths = [(node, count) for node, count in zip(open_, counts, strict=False) if count]
        if not widths:
            break
    return answers_or_all(done + [node for node, _ in widths], score)


def by_score(scores: list[float], places: int, _: int, p: SearchParams) -> list[int]:
    """One child for each of the kept, the others handed out by largest remainder."""
    kept = scores[: p.n // p.branch][:places]
    spread = hand_out(scores[: p.n // p.branch], max(0, places - len(scores[: p.n // p.branch])))
    return [1 + more for more in spread][: len(kept)]


def by_softmax(scores: list[float], places: int, _: int, p: SearchParams) -> list[int]:
    return hand_out([math.exp((s - max(scores)) / p.balance_temperature) for s in scores], places)


def hand_out(weights: list[float], places: int) -> list[int]:
    """The same by another road: whoever is owed most gets the next one, after whole shares."""
    if not weights:
        return []
    total = math.fsum(weights)
    if total <= 0:
        weights, total = [1.0] * len(weights), float(len(weights))
    shares = [places * weight / total for weight in weights]
    counts = [int(share) for share in shares]
    while sum(counts) < places:
        owed = [share - count for share, count in zip(shares, counts, strict=True)]
        counts[owed.index(max(owed))] += 1
    return counts


def by_pointers(scores: list[float], places: int, depth: int, p: SearchParams) -> list[int]:
    """Systematic resampling as it is drawn: a circle with sectors, a comb laid over it."""
    draw = child_seed(p.seed, depth, 1) / 2**63
    bounded = [min(max(score, 1e-6), 1 - 1e-6) for score in scores]
    weights = [score / (1 - score) for score in bounded]
    ends, below = [], 0.0
    for weight in weights:
        below += weight / math.fsum(weights) * places
        ends.append(below)
    counts = [0] * len(scores)
    for tooth in range(places if scores else 0):
        inside = [index for index, end in enumerate(ends) if tooth + draw < end]
        counts[inside[0] if inside else -1] += 1
    return counts


WIDTHS = {
    "dynamic_branching": by_score,
    "rebase": by_softmax,
    "particle_filter": by_pointers,
}


def mcts(grow: Grow, p: SearchParams, score: Score) -> list[Node]:
    """The tree as a flat list; visits and values are counted anew whenever they are needed."""
    nodes: list[Node] = []
    for depth in range(p.max_steps):
        if len([node for node in nodes if node.finish is Finish.EOS]) >= p.n:
            break
        pending: list[Node] = []
        while len(pending) < max(1, p.n // p.branch):
            leaf = descend(nodes, pending, p.exploration, score)
            if leaf is None:
                break
            pending.append(leaf)
        if not pending:
            break
        width = p.n if depth == 0 else p.branch
        nodes += [child for leaf in pending for child in grow(leaf, range(width))]
    parents = {node.path[:-1] for node in nodes}
    return answers_or_all([node for node in nodes if node.path not in parents], score)


def descend(
    nodes: list[Node], pending: list[Node], exploration: float, score: Score
) -> Node | None:
    """Follow the largest upper confidence bound to a leaf that nobody works on."""
    parents = {node.path[:-1] for node in nodes}
    free = [
        node
        for node in (nodes or [Node()])
        if node.finish is Finish.STOP and node.path not in parents and node not in pending
    ]
    if not free:
        return None

    def visits(node: Node) -> int:
        """Itself, all below, and who is on the way there; the root was visited to begin with."""
        depth = node.depth
        below = [other for other in nodes if other.path[:depth] == node.path]
        return len(below) + len([o for o in pending if o.path[:depth] == node.path]) + (depth == 0)

    def worth(node: Node, parent: Node) -> float:
        total = math.fsum(score(o) for o in nodes if o.path[: node.depth] == node.path)
        bonus = math.sqrt(math.log(visits(parent) + 1) / visits(node))
        return total / visits(node) + exploration * bonus

    at = Node()
    while at.path in parents:
        options = [n for n in nodes if n.path[:-1] == at.path]
        open_ = [n for n in options if any(f.path[: n.depth] == n.path for f in free)]
        at = min(open_, key=lambda n: (-worth(n, at), n.path))
    return at


NAIVE: dict[str, Callable[[Grow, SearchParams, Score], list[Node]]] = {
    "beam": beam,
    "best_of_n": best_of_n,
    "dvts": dvts,
    "dynamic_branching": shared,
    "mcts": mcts,
    "particle_filter": shared,
    "rebase": shared,
    "self_consistency": best_of_n,
}
