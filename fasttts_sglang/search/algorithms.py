"""The algorithms by name. Others come by an entry point of another package, or by `register`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from ..errors import BadRequest, ConfigError
from .aggregate import AGGREGATIONS
from .beam import beam_search
from .best_of_n import best_of_n
from .core import Search
from .dvts import dvts
from .mcts import mcts
from .widths import dynamic_branching, particle_filter, rebase

if TYPE_CHECKING:
    from .params import SearchParams

GROUP = "fasttts_sglang.algorithms"
Maker = Callable[["SearchParams"], Search]


def _stepwise(params: SearchParams) -> dict[str, Any]:
    """What every search by steps is told."""
    return {
        "num_beams": params.n,
        "max_steps": params.max_steps,
        "verify_every": params.verify_every,
        "aggregate": AGGREGATIONS[params.aggregation],
    }


def _best_of_n(params: SearchParams) -> Search:
    return best_of_n(num_samples=params.n, aggregate=AGGREGATIONS[params.aggregation])


BUILT_IN: dict[str, Maker] = {
    "beam": lambda p: beam_search(branch=p.branch, **_stepwise(p)),
    "best_of_n": _best_of_n,
    "dvts": lambda p: dvts(branch=p.branch, **_stepwise(p)),
    "dynamic_branching": lambda p: dynamic_branching(branch=p.branch, **_stepwise(p)),
    "mcts": lambda p: mcts(branch=p.branch, exploration=p.exploration, **_stepwise(p)),
    "particle_filter": lambda p: particle_filter(seed=p.seed, **_stepwise(p)),
    "rebase": lambda p: rebase(temperature=p.balance_temperature, **_stepwise(p)),
    "self_consistency": _best_of_n,
}
BRANCHING = ("beam", "dvts", "dynamic_branching", "mcts")
"""Those for which n must be a multiple of `branch`."""
SAMPLING = ("best_of_n", "self_consistency")
"""Those that draw whole answers."""
_STEPWISE = tuple(name for name in BUILT_IN if name not in SAMPLING)
_READ_BY = {
    "branch": BRANCHING,
    "max_steps": _STEPWISE,
    "verify_every": _STEPWISE,
    "balance_temperature": ("rebase",),
    "exploration": ("mcts",),
}
"""Parameters that only some of the built-in algorithms read."""


_registered: dict[str, EntryPoint] = {}


def register(name: str, target: str) -> None:
    """Add an algorithm in this process.

    Args:
        name: What SearchParams.algorithm calls it.
        target: `module:function`, a callable from SearchParams to a search.

    Raises:
        ConfigError: The name is taken, or the target cannot be imported.
    """
    if name in BUILT_IN:
        raise ConfigError(f"--fasttts-algorithms {name}={target}: {name} is built in")
    point = EntryPoint(name, target, GROUP)
    try:
        point.load()
    except Exception as exc:  # a module may raise what it likes
        raise ConfigError(f"--fasttts-algorithms {name}={target}: {exc}") from exc
    _registered[name] = point


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def known() -> list[str]:
    """Names of all algorithms."""
    return sorted({*BUILT_IN, *_installed(), *_registered})


def parameters_of(name: str) -> list[str]:
    """The search parameters that an algorithm reads; for one of another package, all."""
    from .params import SearchParams

    every = [entry.name for entry in fields(SearchParams)]
    return [p for p in every if name not in BUILT_IN or name in _READ_BY.get(p, (name,))]


def make(params: SearchParams) -> Search:
    """The generator of the algorithm that `params` names.

    Raises:
        BadRequest: Another package's algorithm cannot be imported.
    """
    name = params.algorithm
    if name in BUILT_IN:
        return BUILT_IN[name](params)
    point = _registered.get(name) or _installed()[name]
    try:
        maker: Maker = point.load()
    except Exception as exc:
        raise BadRequest("algorithm", f"{name!r} cannot be imported: {exc}") from exc
    return maker(params)
