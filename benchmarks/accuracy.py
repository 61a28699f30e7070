"""Accuracy of the bundled pair on held-out problems, through the real engine.

    python -m benchmarks.accuracy --problems 300 --out report.md

Every problem is searched by: n independent samples (their mean is the single-sample accuracy,
their vote the majority baseline), best-of-n by the verifier, and PRM beam search.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasttts_sglang import FastTTSEngine, SearchParams, SearchResult
from fasttts_sglang.evaluation.statistics import interval, percent
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.answers import select

from .environment import describe


def main() -> None:
    """Measure, print the table, and write it with one JSON line to --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--seed", type=int, default=2026, help="seed of the problem set")
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--engine", type=json.loads, default={}, help="engine arguments, JSON")
    args = parser.parse_args()

    problems = tiny_task.problems(args.seed, args.problems, "heldout")
    truth = [str(tiny_task.true_answer(problem)) for problem in problems]
    rows: list[dict[str, Any]] = []
    with FastTTSEngine(**args.engine) as engine:
        for width in args.widths:
            rows += measure(engine, problems, truth, width)
            print(table(rows[-4:]), flush=True)
    record = {
        "environment": describe(),
        "engine": args.engine,
        "problems": len(problems),
        "seed": args.seed,
        "rows": rows,
    }
    text = table(rows)
    print(text)
    print(json.dumps(record))
    if args.out:
        args.out.write_text(report(record, text))


def measure(
    engine: FastTTSEngine, problems: list[str], truth: list[str], n: int
) -> list[dict[str, Any]]:
    """Rows for width n: mean single sample, majority, best-of-n, beam search."""
    base = {**tiny_task.SEARCH, "n": n, "branch": min(4, n)}
    began = time.perf_counter()
    samples = engine.search(problems, SearchParams.from_dict({**base, "algorithm": "best_of_n"}))
    sampled_s = time.perf_counter() - began
    began = time.perf_counter()
    beams = engine.search(problems, SearchParams.from_dict(base))
    beam_s = time.perf_counter() - began

    def tokens(results: Sequence[SearchResult]) -> float:
        return sum(r.usage.completion_tokens for r in results) / len(results)

    def right(answers: Sequence[str | None]) -> list[float]:
        return [float(a == t) for a, t in zip(answers, truth, strict=True)]

    single = [
        sum(c.answer == t for c in r.candidates) / len(r.candidates)
        for r, t in zip(samples, truth, strict=True)
    ]
    majority = right([select(r.candidates, "majority").answer for r in samples])
    best = right([select(r.candidates, "best").answer for r in samples])
    beam = right([r.answer for r in beams])
    lengths = sorted(len(s.token_ids) for r in samples for c in r.candidates for s in c.steps)
    mean = sum(lengths) / len(lengths)
    p95 = lengths[int(0.95 * len(lengths))]
    common = {"n": n, "step_mean": round(mean, 1), "step_p95_over_mean": round(p95 / mean, 2)}
    return [
        row("mean single sample", single, tokens(samples) / n, None, common),
        row("majority vote", majority, tokens(samples), sampled_s, common),
        row("best of n (PRM)", best, tokens(samples), sampled_s, common),
        row("PRM beam search", beam, tokens(beams), beam_s, common)
        | {"over_single": interval([b - s for b, s in zip(beam, single, strict=True)])}
        | {"over_majority": interval([b - m for b, m in zip(beam, majority, strict=True)])},
    ]


def row(
    name: str, values: list[float], tokens: float, seconds: float | None, common: dict[str, Any]
) -> dict[str, Any]:
    """One line of the report."""
    return {
        "name": name,
        **common,
        "accuracy": interval(values),
        "tokens_per_problem": round(tokens),
        "wall_s": None if seconds is None else round(seconds, 1),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a markdown table."""
    lines = [
        "| n | method | accuracy % (95 % interval) | over single | over majority | tokens |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = [percent(r.get(key)) for key in ("accuracy", "over_single", "over_majority")]
        lines.append(
            f"| {r['n']} | {r['name']} | {' | '.join(cells)} | {r['tokens_per_problem']} |"
        )
    return "\n".join(lines)


def report(record: dict[str, Any], text: str) -> str:
    """The whole report page."""
    env = record["environment"]
    first = record["rows"][0]
    versions = ", ".join(f"{k} {v}" for k, v in env.items() if k not in ("command", "device"))
    return (
        f"# Tiny pair: accuracy on {record['problems']} held-out problems\n\n"
        f"    {env['command']}\n\n"
        f"{env['device']}; {versions}; problem seed {record['seed']}, search parameters"
        f" {tiny_task.SEARCH}.\n\n{text}\n\n"
        f"Step length: mean {first['step_mean']} tokens, p95 / mean"
        f" {first['step_p95_over_mean']}. Intervals: bootstrap over problems.\n\n"
        f"```json\n{json.dumps(record)}\n```\n"
    )


if __name__ == "__main__":
    main()
