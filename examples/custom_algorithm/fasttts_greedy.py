"""A search algorithm of one's own: always extend the single best step.

    pip install ./examples/custom_algorithm
    fasttts solve --demo --algorithm greedy

It runs with forks, speculation and eager scores like the built-in ones: the runtime only needs to
know what is asked for and who survives.
"""

from collections.abc import Sequence

from fasttts_sglang.search.core import Expand, Node, Round, Search
from fasttts_sglang.search.params import SearchParams


def greedy(params: SearchParams) -> Search:
    """Draw n next steps, keep the one that the verifier likes best, repeat."""

    def best(children: Sequence[Node]) -> list[Node]:
        return [max(children, key=lambda node: (node.scores[-1], node.path))]

    node = Node()
    for _ in range(params.max_steps):
        (node,) = yield Round((Expand(node, params.n),), best)
        if not node.extendable:
            break
    return [node]
