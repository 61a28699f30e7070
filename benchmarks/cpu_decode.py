"""Milliseconds per decode step of the tiny pair's generator on a CPU.

    python -m benchmarks.cpu_decode --rows 8 32 64

Every row decodes the same number of tokens after a prompt of --prompt tokens; the time of a short
run is subtracted from that of a long one, so prefill and request handling cancel out.
"""

import argparse
import json
import statistics
import time

from fasttts_sglang import FastTTSEngine

from .environment import describe

SHORT, LONG = 16, 80


def main() -> None:
    """Measure and print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--prompt", type=int, default=200, help="tokens")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    result: dict[int, list[float]] = {}
    with FastTTSEngine() as engine:
        for rows in args.rows:
            runs = [step_ms(engine, rows, args.prompt) for _ in range(args.repeats + 1)]
            result[rows] = runs[1:]  # the first warms up
    print("| rows | ms per decode step, median (min to max) |\n|---|---|")
    for rows, runs in result.items():
        print(f"| {rows} | {statistics.median(runs):.1f} ({min(runs):.1f} to {max(runs):.1f}) |")
    print(json.dumps({"environment": describe(), "prompt": args.prompt, "ms_per_step": result}))


def step_ms(engine: FastTTSEngine, rows: int, prompt: int) -> float:
    """One measurement of `rows` rows that decode together."""

    def run(tokens: int) -> float:
        prompts = [[6 + (i + j) % 90 for j in range(prompt)] for i in range(rows)]
        params = {"max_new_tokens": tokens, "ignore_eos": True, "temperature": 0}
        began = time.perf_counter()
        engine.generate(input_ids=prompts, sampling_params=params)
        return time.perf_counter() - began

    return (run(LONG) - run(SHORT)) / (LONG - SHORT) * 1e3


if __name__ == "__main__":
    main()
