"""What a search has computed so far."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Counts:
    """Becomes the result's `Usage`, which says what each field means."""

    prompt_tokens: int
    completion_tokens: int = 0
    verifier_tokens: int = 0
    verifier_cached_tokens: int = 0
    rounds: int = 0
    children: int = 0
    slot_tokens: int = 0
    speculated_kept: int = 0
    speculated_wasted: int = 0
    overrun: int = 0
    hits: dict[int, int] = field(default_factory=dict)  # kept nodes, by rounds ahead

    def keep(self, tokens: int, rounds_ahead: int) -> None:
        """A node of which `tokens` were decoded ahead is asked for."""
        self.speculated_kept += tokens
        if tokens:
            self.hits[rounds_ahead] = self.hits.get(rounds_ahead, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        raw = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        hits = raw.pop("hits")
        most = max(hits, default=0)
        return {**raw, "speculated_hits": [hits.get(i, 0) for i in range(1, most + 1)]}
