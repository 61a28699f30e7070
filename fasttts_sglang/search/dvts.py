"""Diverse verifier tree search: independent subtrees, each a beam search of width one."""

from collections.abc import Sequence

from .aggregate import Aggregate
from .beam import by_rounds
from .core import Finish, Node, Search
from .ranking import best_first


def dvts(
    *, num_beams: int, branch: int, max_steps: int, verify_every: int, aggregate: Aggregate
) -> Search:
    """Split the first `num_beams` steps into subtrees of `branch`; each keeps its best child.

    A subtree ends with its best child's answer. A cut child is kept only if its subtree has
    nothing else.

    Returns:
        One path per subtree, answers best first; if there is none, what was cut or unfinished.

    Source: Beeching, Tunstall and Rush, "Scaling test-time compute with open models" (2024).
    """

    def decide(children: Sequence[Node]) -> list[Node]:
        subtrees: dict[int, Node] = {}
        uncut_first = sorted(
            best_first(children, aggregate), key=lambda node: node.finish is Finish.LENGTH
        )
        for node in uncut_first:
            subtrees.setdefault(node.path[0] // branch, node)
        return [subtrees[index] for index in sorted(subtrees)]

    return by_rounds(decide, num_beams, branch, max_steps, verify_every, aggregate)
