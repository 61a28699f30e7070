"""A node of a search's tree as far as it is known."""

from dataclasses import dataclass, field

from ..search.core import Finish, Node, Path


@dataclass(slots=True, eq=False)
class Step:
    """A node of the tree as far as it is known."""

    path: Path
    parent: "Step | None"
    requested: bool = False
    finish: Finish | None = None  # None: not decoded yet
    num_tokens: int = 0  # response tokens from the root
    node: Node | None = None  # None: not scored yet
    value: float = float("nan")  # logit of its aggregated score
    p: float = 0.0  # p(needed)
    ahead: int = 0  # rounds between the one that runs and the one that may ask for it
    worth: float = 0.0  # of decoding it now: how probably and how soon it is needed
    fanout: int = 0  # children that were asked for, or will probably be
    steps: int | None = 1  # of the expansion it belongs to
    children: "dict[int, Step]" = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.finish is not None

    @property
    def extendable(self) -> bool:
        return self.finish is None or self.finish is Finish.STOP

    def child(self, index: int) -> "Step":
        """Its child number `index`, which is made if it is new."""
        found = self.children.get(index)
        if found is None:
            found = self.children[index] = Step((*self.path, index), self)
        return found
