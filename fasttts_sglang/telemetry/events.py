"""What a running search reports."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a search after a round. Counts are since its start."""

    rid: str
    queue_position: int | None  # of a search that waits for a place, from 1; None: it runs
    round: int
    num_children: int
    num_complete: int  # paths that reached an answer
    best_score: float | None  # of the latest steps kept
    generated_tokens: int
    verifier_tokens: int
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)
