"""Searches in which a node's score decides how many children it gets.

Their `decide` names a survivor as often as it is to be extended.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from .aggregate import Aggregate
from .core import Decide, Expand, Finish, Node, Round, Search
from .ranking import best_first, candidates
from .seeds import child_seed

Allot = Callable[[list[Node], int, int], list[int]]
"""Extendable nodes, best first, a number of children and of the round, to what each node gets."""


def dynamic_branching(
    *, num_beams: int, branch: int, max_steps: int, verify_every: int, aggregate: Aggregate
) -> Search:
    """Beam search whose kept beams share the children in proportion to their scores.

    The best `num_beams // branch` are kept and get at least one child each.

    Source: as FastTTS evaluates it, arXiv:2509.00195; the idea is that of ETS, arXiv:2502.13575.
    """

    def allot(nodes: list[Node], total: int, _: int) -> list[int]:
        kept = nodes[: num_beams // branch]
        shares = proportional([aggregate(n.scores) for n in kept], max(0, total - len(kept)))
        return [1 + share for share in shares][:total]

    return _allotted(num_beams, max_steps, verify_every, aggregate, allot)


def rebase(
    *,
    num_beams: int,
    max_steps: int,
    verify_every: int,
    temperature: float,
    aggregate: Aggregate,
) -> Search:
    """Reward-balanced search: all nodes share the children by the softmax of their scores.

    Args:
        temperature: Of the softmax; the lower, the more the best nodes get.

    Source: Wu et al., arXiv:2408.00724.
    """

    def allot(nodes: list[Node], total: int, _: int) -> list[int]:
        scores = [aggregate(node.scores) / temperature for node in nodes]
        top = max(scores, default=0.0)
        return proportional([math.exp(score - top) for score in scores], total)

    return _allotted(num_beams, max_steps, verify_every, aggregate, allot)


def particle_filter(
    *, num_beams: int, max_steps: int, verify_every: int, seed: int, aggregate: Aggregate
) -> Search:
    """Resample the particles after every step, with weights the odds of their scores.

    Systematic resampling with one draw per round, a hash of `seed` and the round. Particles that
    have ended keep their places and are not resampled, so that no answer is lost.

    Source: Puri et al., arXiv:2502.01618.
    """

    def allot(nodes: list[Node], total: int, round_: int) -> list[int]:
        draw = child_seed(seed, round_, 1) / 2**63
        return systematic([odds(aggregate(node.scores)) for node in nodes], total, draw)

    return _allotted(num_beams, max_steps, verify_every, aggregate, allot)


def _allotted(
    num_beams: int,
    max_steps: int,
    verify_every: int,
    aggregate: Aggregate,
    allot: Allot,
) -> Search:
    """The frame: ended paths are candidates and leave the others fewer children.

    Returns:
        Answers, best first; if there is none, the cut and unfinished paths.
    """
    widths = Counter({Node(): num_beams})
    ended: list[Node] = []
    for round_ in range(max_steps):
        expansions = tuple(Expand(node, count, verify_every) for node, count in widths.items())
        total = num_beams - sum(node.finish is Finish.EOS for node in ended)
        survivors = yield Round(expansions, _decide(allot, total, round_, aggregate))
        ended += [node for node in survivors if not node.extendable]
        widths = Counter(node for node in survivors if node.extendable)
        if not widths:
            break
    return candidates([*ended, *widths], aggregate)


def _decide(allot: Allot, total: int, round_: int, aggregate: Aggregate) -> Decide:
    def decide(children: Sequence[Node]) -> list[Node]:
        ended = [node for node in children if not node.extendable]
        left = max(0, total - sum(node.finish is Finish.EOS for node in ended))
        ranked = best_first((node for node in children if node.extendable), aggregate)
        counts = zip(ranked, allot(ranked, left, round_), strict=False)
        return ended + [node for node, count in counts for _ in range(count)]

    return decide


def proportional(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers that add up to `total`, as near to `weights` as can be (largest remainder).

    >>> proportional([3.0, 1.0, 1.0], 6)
    [4, 1, 1]
    """
    whole = math.fsum(weights)
    if not weights or whole <= 0:
        weights, whole = [1.0] * len(weights), float(len(weights))
    exact = [total * weight / whole for weight in weights] if weights else []
    counts = [math.floor(share) for share in exact]
    order = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for index in order[: total - sum(counts)]:
        counts[index] += 1
    return counts


def systematic(weights: Sequence[float], total: int, draw: float) -> list[int]:
    """Systematic resampling: `total` equally spaced pointers, all moved by `draw` in [0, 1).

    >>> systematic([1.0, 3.0], 4, 0.5)
    [1, 3]
    """
    whole = math.fsum(weights)
    counts, passed, below = [], 0, 0.0
    for index, weight in enumerate(weights):
        below += weight / whole * total
        last = index == len(weights) - 1
        reached = total if last else min(total, max(passed, math.ceil(below - draw)))
        counts.append(reached - passed)
        passed = reached
    return counts


def odds(score: float) -> float:
    """Odds of a probability, bounded so that one particle cannot swallow all others.

    >>> odds(0.75)
    3.0
    """
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return bounded / (1 - bounded)
