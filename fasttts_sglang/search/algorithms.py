"""The algorithms by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .aggregate import AGGREGATIONS
from .beam import beam_search
from .best_of_n import best_of_n
from .core import Search

if TYPE_CHECKING:
    from .params import SearchParams


def _beam(params: SearchParams) -> Search:
    return beam_search(
        num_beams=params.n,
        branch=params.branch,
        max_steps=params.max_steps,
        aggregate=AGGREGATIONS[params.aggregation],
    )


def _best_of_n(params: SearchParams) -> Search:
    return best_of_n(num_samples=params.n, aggregate=AGGREGATIONS[params.aggregation])


ALGORITHMS: dict[str, Callable[[SearchParams], Search]] = {
    "beam": _beam,
    "best_of_n": _best_of_n,
}


def make(params: SearchParams) -> Search:
    """The generator of the algorithm that `params` names."""
    return ALGORITHMS[params.algorithm](params)
