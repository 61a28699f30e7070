"""What the runtime knows about a node: its tokens, steps, scores and seed."""

from array import array
from dataclasses import dataclass, field
from typing import Any

from ..search.core import Finish, Node, Path


@dataclass(slots=True)
class Branch:
    """A path of the search tree, as token ids. Grows from its parent's by one child row."""

    path: Path
    seed: int
    ids: array  # type: ignore[type-arg]  # response token ids from the root, int64
    ends: list[int] = field(default_factory=list)  # end of each step within `ids`
    scores: list[float] = field(default_factory=list)  # of the first len(scores) steps
    keys: list[bytes] = field(default_factory=list)  # score-cache key per step
    finish: Finish = Finish.STOP
    complete_s: float | None = None  # seconds into the search when its last token was there

    def node(self) -> Node:
        """The algorithm's view: no tokens."""
        return Node(self.path, tuple(self.scores), len(self.ids), self.finish)

    def child(self, index: int, seed: int) -> "Branch":
        """A continuation that shares everything up to here."""
        return Branch(
            (*self.path, index),
            seed,
            self.ids[:],
            list(self.ends),
            list(self.scores),
            list(self.keys),
        )

    def to_dict(self) -> dict[str, Any]:
        """For the tokenizer process, which turns ids into text."""
        return {
            "path": list(self.path),
            "ids": self.ids.tolist(),
            "ends": self.ends,
            "scores": self.scores,
            "finish": self.finish.value,
            "complete_s": self.complete_s,
        }


def root(seed: int) -> Branch:
    """The empty response."""
    return Branch((), seed, array("q"))
