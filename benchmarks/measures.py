"""What is measured of one search, the same for every system. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

STOCK = "stock"  # what a baseline's name begins with

_PER_SEARCH = "stock SGLang does not report it per search"
_NO_STEPS = "stock SGLang does not speculate on steps"
REASONS = {
    True: {  # of a baseline
        "speculated_kept": _NO_STEPS,
        "speculated_wasted": _NO_STEPS,
        "decode_steps": _PER_SEARCH,
        "scheduling_s": _PER_SEARCH,
        "kv_high_water": _PER_SEARCH,
    },
    False: {
        "kv_high_water": "this search does not tell",
        "recomputed_tokens": "this search does not tell",
        "verifier_recomputed_tokens": "this verifier does not tell",
        "retractions": "not reported by the runtime per search",
    },
}
"""Why a measure is null, by whether the system is a baseline."""


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
    limit_s: float  # see `limit_s` below; the decode step is one with n rows
    bound_s: float  # the same with the fastest decode step of any batch: nothing can beat it
    x_of_limit: float
    speculated_kept: int | None = None
    speculated_wasted: int | None = None
    kv_high_water: int | None = None
    recomputed_tokens: int | None = None  # the generator's KV computed again after it was evicted
    verifier_recomputed_tokens: int | None = None
    retractions: int | None = None  # rows that lost their KV while they were decoded
    decode_steps: int | None = None  # scheduler iterations while the search ran
    scheduling_s: float | None = None  # spent in our hook before the batches, verifier excluded

    @property
    def key(self) -> tuple[str, int, int]:
        """What is measured once."""
        return self.system, self.n, self.seed

    @property
    def is_stock(self) -> bool:
        return self.system.startswith(STOCK)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the reason of every null."""
        raw = asdict(self)
        known = REASONS[self.is_stock]
        reasons = {name: known[name] for name in known if raw[name] is None}
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


def limit_s(
    chain_tokens: int,
    step_s: float,
    work_tokens: int,
    peak_tokens_per_s: float,
    verifier_tokens: int = 0,
    verifier_tokens_per_s: float | None = None,
) -> float:
    """What a search takes at least on this machine: the longest of three.

    They are not added up, because decoding is bound by memory and the verifier's prefill by
    arithmetic, so that both could run at the same time. The verifier's last forward comes after
    the chain's last token and is left out.

    Args:
        chain_tokens: The longest chain of dependent tokens that the search needs.
        step_s: Seconds of one decode step.
        work_tokens: All tokens that the search decodes.
        peak_tokens_per_s: The best decode rate that was measured at any batch.
        verifier_tokens: All tokens that must be scored.
        verifier_tokens_per_s: The verifier's measured rate; None: not measured, left out.
    """
    scoring_s = verifier_tokens / verifier_tokens_per_s if verifier_tokens_per_s else 0.0
    return max(chain_tokens * step_s, work_tokens / peak_tokens_per_s, scoring_s)


def spread(values: Sequence[float]) -> str:
    """Median and range, for a table."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def table(rows: Sequence[Measures]) -> str:
    """Medians and ranges over seeds, one line per system and n."""
    lines = [
        "| n | system | latency s | x of limit | generator s | verifier s | slot use | ahead kept"
        " | goodput tok/s | useful tok/s | recomputed | hook µs/step |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
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
            cells += [_recomputed(part), _hook_us(part)]
            lines.append(f"| {n} | {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _recomputed(rows: Sequence[Measures]) -> str:
    """Median tokens computed again, both models; empty where no row tells."""
    known = [
        row.recomputed_tokens + (row.verifier_recomputed_tokens or 0)
        for row in rows
        if row.recomputed_tokens is not None
    ]
    return f"{statistics.median(known):.0f}" if known else ""


def _hook_us(rows: Sequence[Measures]) -> str:
    """Median time of our hook before each batch; empty for the baseline."""
    known = [
        1e6 * row.scheduling_s / row.decode_steps
        for row in rows
        if row.scheduling_s is not None and row.decode_steps
    ]
    return f"{statistics.median(known):.3g}" if known else ""
