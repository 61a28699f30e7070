"""Beam search guided by a process reward model."""

from collections.abc import Sequence

from .aggregate import Aggregate
from .core import Decide, Expand, Finish, Node, Round, Search
from .ranking import best_first, candidates


def beam_search(
    *, num_beams: int, branch: int, max_steps: int, verify_every: int, aggregate: Aggregate
) -> Search:
    """Each round, keep the best `num_beams // branch` beams and extend each `branch` ways.

    The first round draws `num_beams` steps from the prompt. Beams that have ended leave the race
    as candidates and do not take a place from the others. The search ends once it has
    `num_beams` answers, nothing is left to extend, or after `max_steps` rounds.

    Args:
        verify_every: Steps between two looks of the verifier (VG-Search, arXiv:2505.11730).

    Returns:
        Answers, best first; if there is none, the cut and unfinished beams.

    Source: search-and-learn's beam search (Snell et al., arXiv:2408.03314, section 5), with two
    differences: it fills up to `num_beams` with duplicates when few beams are left, we do not;
    and a beam cut by its length never counts as an answer.
    """
    decide = keep_best(num_beams // branch, aggregate)
    return by_rounds(decide, num_beams, branch, max_steps, verify_every, aggregate)


def by_rounds(
    decide: Decide,
    num_beams: int,
    branch: int,
    max_steps: int,
    verify_every: int,
    aggregate: Aggregate,
) -> Search:
    """The frame of a search that gives every survivor of `decide` `branch` children."""
    frontier, fanout = [Node()], num_beams
    ended: list[Node] = []
    for _ in range(max_steps):
        expansions = tuple(Expand(node, fanout, verify_every) for node in frontier)
        survivors = yield Round(expansions, decide)
        ended += [node for node in survivors if not node.extendable]
        frontier = [node for node in survivors if node.extendable]
        fanout = branch
        if not frontier or sum(node.finish is Finish.EOS for node in ended) >= num_beams:
            break
    return candidates(ended + frontier, aggregate)


def keep_best(count: int, aggregate: Aggregate) -> Decide:
    """Survivors are all nodes that have ended and the best `count` of the others.

    A node survives exactly if it has ended or fewer than `count` extendable ones rank before it.
    So with some scores still unknown, a node is certain to survive if fewer than `count` known
    or unknown ones can rank before it, and certain to be dropped if `count` known ones do.
    """

    def decide(children: Sequence[Node]) -> list[Node]:
        ended = [node for node in children if not node.extendable]
        open_ = [node for node in children if node.extendable]
        return ended + best_first(open_, aggregate)[:count]

    return decide
