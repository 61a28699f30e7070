"""The vocabulary of verifier-guided search: nodes, rounds and the generator protocol.

An algorithm is a generator. It yields a `Round` (which nodes get how many children, and a pure
`decide` that picks the survivors once all children are scored), receives the survivors, and in
the end returns its candidates. It does no I/O and never sees a token: the runtime owns those.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum

Path = tuple[int, ...]
"""Child index per depth. A node's path is its identity, its tie-break, its prefix-sort key and
the source of its sampling seed."""


class Finish(StrEnum):
    """Why a node ended where it did. The three are never mixed up."""

    STOP = "stop"  # a step boundary: the node can be extended
    EOS = "eos"  # the model ended its answer
    LENGTH = "length"  # cut by a step, path or context limit: neither extendable nor an answer


@dataclass(frozen=True, slots=True)
class Node:
    """A reasoning prefix whose steps are all scored."""

    path: Path = ()
    scores: tuple[float, ...] = ()  # verifier's probability per step from the root, each in [0, 1]
    num_tokens: int = 0  # response tokens from the root
    finish: Finish = Finish.STOP

    @property
    def extendable(self) -> bool:
        return self.finish is Finish.STOP

    @property
    def depth(self) -> int:
        return len(self.path)


@dataclass(frozen=True, slots=True)
class Expand:
    """Ask for `num_children` continuations of `node`, each `steps` steps long."""

    node: Node
    num_children: int
    steps: int | None = 1  # None: decode to the end of the answer


Decide = Callable[[Sequence[Node]], list[Node]]
"""Scored children of a round, in path order, to the survivors. Pure."""


@dataclass(frozen=True, slots=True)
class Round:
    """What must be known next. `decide` is called once every child is scored."""

    expansions: tuple[Expand, ...]
    decide: Decide

    @property
    def num_children(self) -> int:
        return sum(expand.num_children for expand in self.expansions)


Search = Generator[Round, list[Node], list[Node]]
"""Yields rounds, receives survivors, returns the candidates, best first."""

Expander = Callable[[Sequence[Expand]], list[Node]]
"""Children of all expansions, scored, in the order asked for."""


def start(search: Search) -> Round | list[Node]:
    """First round of `search`, or its candidates if it asks for nothing."""
    return _advance(search, None)


def resume(search: Search, survivors: list[Node]) -> Round | list[Node]:
    """Hand `survivors` to `search`; return its next round, or its candidates at the end."""
    return _advance(search, survivors)


def _advance(search: Search, value: list[Node] | None) -> Round | list[Node]:
    try:
        return search.send(value)  # type: ignore[arg-type]  # None starts a generator
    except StopIteration as stop:
        candidates: list[Node] = stop.value
        return candidates


def drive(search: Search, expand: Expander) -> list[Node]:
    """Run `search` to its end against `expand`: the driver of tests and simulations."""
    state = start(search)
    while isinstance(state, Round):
        children = sorted(expand(state.expansions), key=lambda node: node.path)
        state = resume(search, state.decide(children))
    return state
