"""The planner against measurements: predicted and measured seconds per round, over splits.

    python -m benchmarks.planner --pairs 1.5b+1.5b 7b+1.5b --kv-gib 1 2 --out report.md

One engine per pair; all boot at once and search in turn. Each moves its KV memory from split to
split while it runs, those of --shares and the one that the planner chooses for each width, and
replays the same searches without speculation at each. A split is a whole number of units (granules
in all layers), so shares that are near each other are one split. It ends after --minutes, boots
included; all splits see one seed before the next begins. On a CPU `--pairs toy+toy --kv-gib 0.01`
shows that it runs, no more.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import points, slices
from .environment import describe
from .setting import Setting, shaped
from .shapes import PAIRS
from .splits import Splits, visit


def main() -> None:
    """Measure; print a JSON line per search as it is done, and the table."""
    import torch

    args = _arguments()
    deadline = time.monotonic() + args.minutes * 60
    gpu = torch.cuda.is_available()
    if args.slice is not None:
        _measure(args, args.slice, deadline, gpu=gpu)
        return
    from fasttts_sglang.runtime.calibration import this_machine

    this_machine("cuda" if gpu else "cpu", 0)  # now, while nothing else runs; the engines read it
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        again = [*sys.argv[1:], "--log", str(log)]
        numbers = range(len(args.pairs))
        failed = slices.run_all(again, numbers, len(numbers), deadline, "benchmarks.planner")
        lines = log.read_text().splitlines() if log.exists() else []
    settings = {pair: _setting(args, number, gpu=gpu) for number, pair in enumerate(args.pairs)}
    found = points.points(map(points.Run.from_json, lines), settings)
    record = {"environment": describe(), "failed": failed, "runs": list(map(json.loads, lines))}
    text = points.report(found) + f"\n```json\n{json.dumps(record)}\n```\n"
    print(text)
    if args.out:
        args.out.write_text(f"# Planner against measurement\n\n{text}")
    sys.exit(bool(failed) or not found)


def _setting(args: argparse.Namespace, number: int, *, gpu: bool) -> Setting:
    pair, kv_gib = args.pairs[number], args.kv_gib[number]
    spec = {"min_steps": args.steps, "max_steps": args.steps, "mean_tokens": args.step_tokens}
    return shaped(*pair.split("+"), args.widths, json.dumps(spec), kv_gib, gpu=gpu)


def _measure(args: argparse.Namespace, number: int, deadline: float, *, gpu: bool) -> None:
    """The part of one pair, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        splits = Splits(_setting(args, number, gpu=gpu), Path(folder))
        slices.report_ready()
        slices.report_started()
        turn = slices.Turns(args.log)
        pair, parts = args.pairs[number], (args.widths, args.shares, args.seeds)
        for run in visit(splits, pair, *parts, deadline=deadline, turn=turn):
            print(run.to_json(), flush=True)
            with args.log.open("a") as file:
                file.write(run.to_json() + "\n")
        splits.close()


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", nargs="+", required=True, choices=PAIRS)
    parser.add_argument(
        "--kv-gib", type=float, nargs="+", required=True, help="KV budget of both models, per pair"
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.15, 0.3, 0.5, 0.7],
        help="the verifier's parts to sweep, beside the planned ones",
    )
    parser.add_argument("--seeds", type=int, default=2, help="searches per split and width")
    parser.add_argument("--steps", type=int, default=5, help="of every path")
    parser.add_argument("--step-tokens", type=float, default=70.0, help="mean of a step")
    parser.add_argument("--minutes", type=float, default=5.5, help="no search starts after this")
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)  # where the parts meet
    parser.add_argument("--out", type=Path, help="write the report here")
    parser.add_argument("--slice", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if len(args.kv_gib) != len(args.pairs):
        parser.error(f"--kv-gib: must be as many as --pairs, got {len(args.kv_gib)}")
    if min(args.kv_gib) <= 0:
        parser.error(f"--kv-gib: must be positive, got {min(args.kv_gib)}")
    return args


if __name__ == "__main__":
    main()
