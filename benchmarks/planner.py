"""The planner against measurements: predicted and measured seconds per round over splits.

    python -m benchmarks.planner --pair 7b+1.5b --kv-gib 2 --widths 64 256 --shares 0.1 0.3 0.5

One KV budget, split as given and as planned; an engine of its own per split, which replays searches
without speculation. On a CPU `--pair toy+toy` shows that it runs, no more.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttts_sglang import SearchParams
from fasttts_sglang.memory.machines import Machine
from fasttts_sglang.memory.planner import Planner
from fasttts_sglang.memory.shapes import ModelShape
from fasttts_sglang.memory.workload import Workload

from . import shapes
from .budget import GIB
from .environment import describe
from .setting import BRANCH, shaped
from .systems import Ours

PROMPT = 200
STEPS = 8  # of every path, so that no round is short of rows
SPEC = json.dumps({"min_steps": STEPS, "max_steps": STEPS})


@dataclass(frozen=True, slots=True)
class Point:
    """One split at one width; seconds per round."""

    n: int
    share: float  # the verifier's part
    planned: bool  # whether the planner chose it for this width
    generator_s: float
    verifier_s: float
    predicted_generator_s: float
    predicted_verifier_s: float

    @property
    def measured_s(self) -> float:
        return self.generator_s + self.verifier_s

    @property
    def off(self) -> float:
        """Predicted over measured, less 1."""
        return (self.predicted_generator_s + self.predicted_verifier_s) / self.measured_s - 1


def main() -> None:
    """Measure all splits; print a JSON line per split and width, and a table."""
    args = _arguments()
    if args.one is not None:
        print("ONE " + json.dumps(measure(args, args.one)), flush=True)
        return
    first = _apart(args.shares[0])  # tells what the machine was measured to attain
    planners = {n: planner(args, Machine.from_dict(first["machine"]), n) for n in args.widths}
    budget = int(args.kv_gib * GIB)
    best = {n: planners[n].best(budget).verifier_fraction for n in args.widths}
    chosen = {n: min(0.95, max(0.01, round(share, 3))) for n, share in best.items()}  # the flag's
    others = sorted({*args.shares[1:], *chosen.values()} - {args.shares[0]})
    points = []
    for share, found in [(args.shares[0], first), *((share, _apart(share)) for share in others)]:
        for n in args.widths:
            plan = planners[n].at(budget, int(budget * share))
            seconds = found["seconds"][str(n)]
            predicted = plan.generator.round_s, plan.verifier.round_s
            points.append(Point(n, share, chosen[n] == share, *seconds, *predicted))
    print(json.dumps({"environment": describe(), "machine": first["machine"]}))
    print(table(points))


def planner(args: argparse.Namespace, machine: Machine, n: int) -> Planner:
    """Predictions for the pair at one width."""
    with tempfile.TemporaryDirectory() as folder:
        generator, verifier = (
            ModelShape.named(shapes.write(Path(folder), shape, architecture))
            for shape, architecture in zip(
                args.pair.split("+"), (shapes.GENERATOR, shapes.VERIFIER), strict=True
            )
        )
    work = Workload(n=n, branch=BRANCH, prompt_tokens=PROMPT, path_tokens=70 * STEPS)
    return Planner(generator, verifier, machine, work)


def measure(args: argparse.Namespace, share: float) -> dict[str, Any]:
    """Boot an engine with this split; medians over seeds by width, after one to warm up."""
    models = args.pair.split("+")
    gpu = "toy" not in models
    setting = shaped(*models, args.widths, SPEC, args.kv_gib, gpu=gpu)
    seconds: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(setting, share, {}, Path(folder))
        plan = ours.engine.wait(ours.engine._client.memory())["plan"]
        for n in args.widths:
            runs = []
            for seed in range(args.seeds + 1):
                ours.engine.flush_cache()
                prompt = [5 + (seed * 31 + i) % 90 for i in range(PROMPT)]
                params = SearchParams(n=n, branch=BRANCH, seed=seed, temperature=1.0, stop=())
                result, _ = ours.search(prompt, params.replace(speculation="off"))
                verifier_s, rounds = result.timing["verifier_s"], result.usage.rounds
                total_s = result.timing["total_s"]
                runs.append(((total_s - verifier_s) / rounds, verifier_s / rounds))
            seconds[n] = [statistics.median(column) for column in zip(*runs[1:], strict=True)]
        ours.engine.shutdown()
    return {"machine": plan["machine"], "seconds": seconds}


def table(points: Sequence[Point]) -> str:
    """A markdown table, and per width how good the planned split is.

    >>> planned = Point(8, 0.3, True, 1.0, 0.1, 1.0, 0.21)
    >>> points = [planned, Point(8, 0.5, False, 0.9, 0.1, 0.9, 0.1)]
    >>> print(table(points).splitlines()[2])
    | 8 | 0.3 (plan) | 1.000 | 1.000 | 0.100 | 0.210 | 10 % |
    >>> print(table(points).splitlines()[-1])
    n=8: planned split 1.100 s per round, best measured 1.000 s at 0.5: 10 % slower
    """
    lines = [
        "| n | verifier's part | generator s | predicted | verifier s | predicted | off |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in sorted(points, key=lambda p: (p.n, p.share)):
        lines.append(
            f"| {p.n} | {p.share:g}{' (plan)' if p.planned else ''} | {p.generator_s:.3f}"
            f" | {p.predicted_generator_s:.3f} | {p.verifier_s:.3f} | {p.predicted_verifier_s:.3f}"
            f" | {p.off:.0%} |".replace("%", " %")
        )
    lines.append("")
    for n in sorted({p.n for p in points}):
        group = [p for p in points if p.n == n]
        best = min(group, key=lambda p: p.measured_s)
        planned = next(p for p in group if p.planned)
        slower = f"{planned.measured_s / best.measured_s - 1:.0%}".replace("%", " %")
        lines.append(
            f"n={n}: planned split {planned.measured_s:.3f} s per round, best measured"
            f" {best.measured_s:.3f} s at {best.share:g}: {slower} slower"
        )
    return "\n".join(lines)


def _apart(share: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.planner", *sys.argv[1:], "--one", str(share)]
    done = subprocess.run(command, capture_output=True, text=True)
    marked = [line for line in done.stdout.splitlines() if line.startswith("ONE ")]
    if not marked:
        raise SystemExit(f"verifier's part {share}: {done.stderr[-3000:]}")
    print(f"verifier's part {share}: {marked[0][4:]}", flush=True)
    found: dict[str, Any] = json.loads(marked[0][4:])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", required=True, help="generator+verifier of benchmarks.shapes")
    parser.add_argument("--kv-gib", type=float, required=True, help="KV budget of both models")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.2, 0.3, 0.5, 0.7])
    parser.add_argument("--seeds", type=int, default=2, help="searches per split and width")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    models = args.pair.split("+")
    if len(models) != 2 or not set(models) <= set(shapes.SHAPES):
        known = ", ".join(shapes.SHAPES)
        parser.error(f"--pair: must be two of {known} joined by +, got {args.pair!r}")
    return args


if __name__ == "__main__":
    main()
