"""Best-of-n: independent samples; with a majority vote, self-consistency."""

from .aggregate import Aggregate
from .core import Expand, Node, Round, Search
from .ranking import candidates


def best_of_n(*, num_samples: int, aggregate: Aggregate) -> Search:
    """Sample whole answers and rank them.

    Returns:
        Answers, best first; if there is none, the samples that were cut.

    Source: Cobbe et al., arXiv:2110.14168 (verifier), Wang et al., arXiv:2203.11171 (vote).
    """
    samples = yield Round((Expand(Node(), num_samples, steps=None),), list)
    return candidates(samples, aggregate)
