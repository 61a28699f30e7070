"""What a search has computed so far."""

from dataclasses import dataclass, field, fields
from typing import Any

from .reading import ScoreJob


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
    recomputed_tokens: int = 0
    prefilled_rows: int = 0
    verifier_recomputed_tokens: int | None = None
    restored_tokens: int = 0
    verifier_restored_tokens: int = 0
    kv_high_water_tokens: int = 0
    verifier_kv_high_water_tokens: int | None = None
    hits: dict[int, int] = field(default_factory=dict)  # kept nodes, by rounds ahead

    def keep(self, tokens: int, rounds_ahead: int) -> None:
        """A node of which `tokens` were decoded ahead is asked for."""
        self.speculated_kept += tokens
        if tokens:
            self.hits[rounds_ahead] = self.hits.get(rounds_ahead, 0) + 1

    def use_kv(self, tokens: int) -> None:
        """So many tokens of the generator's KV pool are held by running requests."""
        self.kv_high_water_tokens = max(self.kv_high_water_tokens, tokens)

    def verified(self, job: ScoreJob) -> None:
        """What the verifier had to do for `job`."""
        self.verifier_tokens += job.computed
        self.verifier_cached_tokens += job.cached
        self.verifier_restored_tokens += job.restored
        if job.recomputed is not None:
            before = self.verifier_recomputed_tokens or 0
            self.verifier_recomputed_tokens = before + job.recomputed
        if job.kv_in_use is not None:
            most = max(self.verifier_kv_high_water_tokens or 0, job.kv_in_use)
            self.verifier_kv_high_water_tokens = most

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        raw = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        hits = raw.pop("hits")
        most = max(hits, default=0)
        return {**raw, "speculated_hits": [hits.get(i, 0) for i in range(1, most + 1)]}
