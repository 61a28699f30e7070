"""What is measured of one search, the same for every system. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

NOT_YET = {
    "speculated_kept": "stock SGLang does not speculate on steps",
    "speculated_wasted": "stock SGLang does not speculate on steps",
    "decode_steps": "stock SGLang does not report it per search",
    "scheduling_s": "stock SGLang does not report it per search",
    "kv_high_water": "stock SGLang does not report it per search",
    "recomputed_tokens": "stock SGLang does not report it per search",
}


@dataclass(frozen=True, slots=True)
class Measures:
    """One search. Seconds and tokens; None where the system does not tell (see `reasons`)."""

    system: str
    n: int
    seed: int
    latency_s: float  # as its caller sees it
    generator_s: float
    verifier_s: float
    completion_tokens: int
    rounds: int
    slot_use: float  # decoded tokens / what the slots could have decoded
    goodput: float | None  # mean tokens per finished beam / mean beam completion time (FastTTS)
    useful_tokens_per_s: float  # tokens of the returned candidates' paths, shared ones once
    verifier_tokens: int | None
    verifier_cached_tokens: int | None
    limit_s: float
    x_of_limit: float
    speculated_kept: int | None = None
    speculated_wasted: int | None = None
    kv_high_water: int | None = None
    recomputed_tokens: int | None = None
    decode_steps: int | None = None  # scheduler iterations while the search ran
    scheduling_s: float | None = None  # spent in our hook before the batches, verifier excluded

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the reason of every null."""
        raw = asdict(self)
        reasons = {name: NOT_YET[name] for name in NOT_YET if raw[name] is None}
        if self.verifier_tokens is None:
            reasons["verifier_tokens"] = "stock SGLang does not report it per search"
            reasons["verifier_cached_tokens"] = reasons["verifier_tokens"]
        if self.goodput is None:
            reasons["goodput"] = "no beam was finished"
        return {**raw, "reasons": reasons}


def goodput(tokens: Sequence[int], complete_s: Sequence[float]) -> float | None:
    """Mean tokens per finished beam / mean beam completion time.

    Source: "precise goodput" of FastTTS, arXiv:2509.00195.
    """
    if not tokens or not complete_s:
        return None
    return statistics.fmean(tokens) / statistics.fmean(complete_s)


def useful_tokens(paths: Sequence[tuple[tuple[int, ...], Sequence[int]]]) -> int:
    """Tokens of the union of paths, each given with the length of every step.

    >>> useful_tokens([((0, 1), [3, 4]), ((0, 2), [3, 5])])
    12
    """
    steps = {
        path[: depth + 1]: length for path, lengths in paths for depth, length in enumerate(lengths)
    }
    return sum(steps.values())


def limit_s(chain_tokens: int, step_s: float, work_tokens: int, peak_tokens_per_s: float) -> float:
    """No system can be faster on this machine.

    Args:
        chain_tokens: The longest chain of dependent tokens that the result needs.
        step_s: Seconds of one decode step at this search's batch.
        work_tokens: All tokens the search decodes.
        peak_tokens_per_s: The best decode rate that was measured at any batch.
    """
    return max(chain_tokens * step_s, work_tokens / peak_tokens_per_s)


def spread(values: Sequence[float]) -> str:
    """Median and range, for a table."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def table(rows: Sequence[Measures]) -> str:
    """Medians and ranges over seeds, one line per system and n."""
    lines = [
        "| n | system | latency s | x of limit | generator s | verifier s | slot use | ahead kept"
        " | goodput tok/s | useful tok/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for n in sorted({row.n for row in rows}):
        for system in dict.fromkeys(row.system for row in rows):
            part = [row for row in rows if (row.n, row.system) == (n, system)]
            if not part:
                continue
            columns = ("latency_s", "x_of_limit", "generator_s", "verifier_s", "slot_use")
            cells = [spread([getattr(row, name) for row in part]) for name in columns]
            kept, wasted = (
                sum(getattr(row, name) or 0 for row in part)
                for name in ("speculated_kept", "speculated_wasted")
            )
            cells.append(f"{kept / (kept + wasted):.0%}" if kept else "")
            cells.append(spread([row.goodput for row in part if row.goodput is not None] or [0]))
            cells.append(spread([row.useful_tokens_per_s for row in part]))
            lines.append(f"| {n} | {system} | {' | '.join(cells)} |")
    return "\n".join(lines)
