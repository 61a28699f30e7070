"""What the runtime knows about a node: its tokens, steps, scores and seed."""

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..scheduling.step import Step
from ..search.core import Finish, Path
from .reading import Reading

if TYPE_CHECKING:
    from .kv_paths import KvEnd
    from .row import Row


@dataclass(slots=True, eq=False)
class Branch:
    """A path of the search tree, as token ids. Grows from its parent's by one child row."""

    step: Step
    seed: int
    ids: array  # type: ignore[type-arg]  # response token ids from the root, int64
    reading: Reading
    ends: list[int] = field(default_factory=list)  # end of each step within `ids`
    scores: list[float] = field(default_factory=list)  # of the first len(scores) steps
    complete_s: float | None = None  # seconds into the search when its last token was there
    row: "Row | None" = None  # what decodes it
    partial: array | None = None  # type: ignore[type-arg]  # tokens of a row that was ended early
    scoring_failed: bool = False  # not finite; matters only if the node is asked for
    requested_s: float | None = None  # seconds into the search when it was asked for
    begun_ahead: int = 0  # rounds between the one that ran and the one it belongs to
    parent_len: int = 0  # response tokens of its parent
    kv: "KvEnd | None" = None  # where the KV of what it has decoded ends, if that is cached

    @property
    def path(self) -> Path:
        return self.step.path

    @property
    def num_own(self) -> int:
        """Tokens decoded for this node so far, its parent's not counted."""
        if self.step.complete:
            return len(self.ids) - self.parent_len
        if self.row is not None:
            return self.row.num_own
        return len(self.partial or ())

    def tokens(self, prompt: "array[int]") -> "array[int]":
        """All from the first of the prompt on, those of a row that was ended early too."""
        ids: array[int] = prompt + self.ids
        if self.partial:
            ids += self.partial
        return ids

    def child(self, step: Step, seed: int) -> "Branch":
        """A continuation that shares everything up to here."""
        return Branch(
            step,
            seed,
            self.ids[:],
            self.reading.copy(),
            list(self.ends),
            list(self.scores),
            parent_len=len(self.ids),
        )

    def to_dict(self) -> dict[str, Any]:
        """For the tokenizer process, which turns ids into text."""
        finish = self.step.finish or Finish.STOP
        return {
            "path": list(self.path),
            "ids": self.ids.tolist(),
            "ends": self.ends,
            "scores": self.scores,
            "finish": finish.value,
            "complete_s": self.complete_s,
        }
