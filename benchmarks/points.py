"""Predicted and measured seconds per round of splits, and how good the planned one is. Pure."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from fasttts_sglang.memory.machines import Machine
from fasttts_sglang.memory.roofline import generator_seconds, round_seconds, verifier_seconds

from .predicted import models, workload
from .setting import Setting

NEAR = 0.20  # what a prediction may be off
AS_GOOD = 0.05  # what the planned split may be slower than the best of the sweep


@dataclass(frozen=True, slots=True)
class Run:
    """One search without speculation. Seconds and tokens of a whole search."""

    pair: str
    n: int
    seed: int
    generator_tokens: int  # of KV
    verifier_tokens: int
    planned: bool  # whether the planner chose this split for this n
    rounds: int
    total_s: float
    verifier_s: float  # of it spent waiting for the verifier, or launching its work
    decode_steps: int
    recomputed_tokens: int | None
    verifier_recomputed_tokens: int | None
    machine: dict[str, Any]

    @property
    def split(self) -> tuple[int, int]:
        """KV tokens of both models."""
        return self.generator_tokens, self.verifier_tokens

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Point:
    """One split at one width. Seconds per round, medians over the seeds that all splits have."""

    pair: str
    n: int
    generator_tokens: int
    verifier_tokens: int
    share: float  # the verifier's part of the memory
    planned: bool
    seeds: int
    measured_s: float
    generator_s: float  # predicted
    verifier_s: float  # predicted
    predicted_s: float  # of both

    @property
    def off(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_s / self.measured_s - 1


def points(runs: Iterable[Run], settings: Mapping[str, Setting]) -> list[Point]:
    """What `runs` come to; of a seed that not all splits of a pair and width have, nothing."""
    groups: dict[tuple[str, int], dict[tuple[int, int], dict[int, Run]]] = {}
    for run in runs:
        groups.setdefault((run.pair, run.n), {}).setdefault(run.split, {})[run.seed] = run
    found = []
    for (pair, n), splits in groups.items():
        common = set.intersection(*(set(by_seed) for by_seed in splits.values()))
        for by_seed in splits.values():
            some = [by_seed[seed] for seed in sorted(common)]
            if some:
                found.append(_point(settings[pair], some, n))
    return sorted(found, key=lambda p: (p.pair, p.n, p.share))


def _point(setting: Setting, runs: Sequence[Run], n: int) -> Point:
    first = runs[0]
    machine, work, pair = Machine.from_dict(first.machine), workload(setting, n), models(setting)
    predicted = [
        float(predict(model, machine, work, np.array([float(tokens)]))[0])
        for predict, model, tokens in zip(
            (generator_seconds, verifier_seconds), pair, first.split, strict=True
        )
    ]
    sizes = [model.kv_bytes * tokens for model, tokens in zip(pair, first.split, strict=True)]
    return Point(
        pair=first.pair,
        n=n,
        generator_tokens=first.generator_tokens,
        verifier_tokens=first.verifier_tokens,
        share=sizes[1] / sum(sizes),
        planned=first.planned,
        seeds=len(runs),
        measured_s=statistics.median(run.total_s / run.rounds for run in runs),
        generator_s=predicted[0],
        verifier_s=predicted[1],
        predicted_s=round_seconds(machine, *predicted),
    )


def report(found: Sequence[Point]) -> str:
    """A markdown table, how many points are near, and how good each planned split is.

    >>> common = {"pair": "a+b", "n": 8, "generator_tokens": 9, "verifier_tokens": 9, "seeds": 1}
    >>> planned = Point(**common, share=0.3, planned=True, measured_s=1.1, generator_s=1.0,
    ...                 verifier_s=0.21, predicted_s=1.21)
    >>> other = Point(**common, share=0.5, planned=False, measured_s=1.0, generator_s=0.9,
    ...               verifier_s=0.4, predicted_s=1.3)
    >>> lines = report([planned, other]).splitlines()
    >>> print(lines[2])
    | a+b | 8 | 0.300 (plan) | 9 + 9 | 1.100 | 1.210 | 1.000 + 0.210 | +10 % | 1 |
    >>> print(*lines[5:], sep="\\n")
    1 of 2 points within 20 %; the median is off by 20 %, the worst by 30 %.
    <BLANKLINE>
    * a+b, n=8: planned 1.100 s per round, best of 2 1.000 s at 0.500: 10.0 % slower
    """
    lines = [
        "| pair | n | verifier's part | KV tokens | measured s/round | predicted"
        " | generator + verifier | off | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for p in found:
        plan = " (plan)" if p.planned else ""
        lines.append(
            f"| {p.pair} | {p.n} | {p.share:.3f}{plan} | {p.generator_tokens} +"
            f" {p.verifier_tokens} | {p.measured_s:.3f} | {p.predicted_s:.3f}"
            f" | {p.generator_s:.3f} + {p.verifier_s:.3f} | {100 * p.off:+.0f} % | {p.seeds} |"
        )
    off = [abs(p.off) for p in found]
    near = sum(each <= NEAR for each in off)
    lines += [""]
    if found:
        lines += [
            f"{near} of {len(found)} points within {100 * NEAR:.0f} %; the median is off by"
            f" {100 * statistics.median(off):.0f} %, the worst by {100 * max(off):.0f} %.",
            "",
        ]
    for pair, n in sorted({(p.pair, p.n) for p in found}):
        lines.append(_verdict([p for p in found if (p.pair, p.n) == (pair, n)]))
    return "\n".join(lines) + "\n"


def _verdict(group: Sequence[Point]) -> str:
    """How the planned split compares with the best of one pair and width."""
    best = min(group, key=lambda p: p.measured_s)
    where = f"* {best.pair}, n={best.n}: "
    planned = next((p for p in group if p.planned), None)
    if planned is None:
        return f"{where}the planned split was not measured"
    slower = planned.measured_s / best.measured_s - 1
    within = "" if slower > AS_GOOD else f", within {100 * AS_GOOD:.0f} %"
    return (
        f"{where}planned {planned.measured_s:.3f} s per round, best of {len(group)}"
        f" {best.measured_s:.3f} s at {best.share:.3f}: {100 * slower:.1f} % slower{within}"
    )
