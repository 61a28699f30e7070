"""fasttts-bench: replayed searches on stock SGLang and on ours, side by side.

python -m benchmarks --quick            # the tiny pair on a CPU, under three minutes
python -m benchmarks --gpu --widths 64  # 1.5B + 1.5B on a GPU, ample memory

With --gpu-gib 24 both systems get the KV budget of such a card: first --sweep finds the baseline's
best split, then a run with the same --log compares with it, and --ablate adds one switch of ours
after the other.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fasttts_sglang.runtime.calibration import this_machine

from . import options, plan, plots, real_task, report, slices
from .compare import compare, measure_machine
from .log import Log
from .plan import Slice
from .predicted import planned_share
from .setting import Setting
from .systems import Ours, Stock


def main() -> None:
    """Measure; print one JSON line per search as it is done, and a table."""
    import torch

    # the two systems run in one process and need different model classes
    os.environ.setdefault("SGLANG_DISABLED_MODEL_ARCHS", "")
    args = options.parse(__doc__)
    args.deadline = time.monotonic() + args.minutes * 60
    gpu = torch.cuda.is_available()
    setting = options.setting(args, gpu=gpu)
    real: list[dict[str, Any]] = []
    failed: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        args.log = args.log or Path(folder) / "log.jsonl"
        log = Log(
            args.log,
            f"{setting.name} {setting.spec}",
            torch.cuda.get_device_name() if gpu else "CPU",
        )
        shares = _shares(args, log)
        args.our_share = args.our_share or shares[0]
        if args.ablate and args.kv_gib is not None and args.planned_share is None:
            machine = this_machine("cuda" if gpu else "cpu", 0)
            args.planned_share = planned_share(setting, max(args.widths), machine)
        parts = _plan(args, shares)
        left = [number for number, part in enumerate(parts) if _left(args, part, log)]
        if args.slice is not None:
            _measure(args, setting, parts, args.slice, log, Path(folder))
        elif len(parts) == 1:
            if left or args.quick:
                real = _measure(args, setting, parts, 0, log, Path(folder))
        else:
            known = [str(share) for share in shares if share is not None]
            again = [*sys.argv[1:], "--log", str(args.log)]
            again += ["--stock-share", *known] if known else []
            if args.planned_share is not None:
                again += ["--planned-share", str(args.planned_share)]
            failed = slices.run_all(again, left, args.together, args.deadline)
        if args.slice is None:
            _report(args, setting, parts, log, real)
        for number in failed:
            print(f"not measured: {[column.name for column in parts[number].columns]}")
        sys.stdout.flush()
        sys.stderr.flush()
    # engines of one process take each other down when they shut down in turn
    os._exit(1 if failed else 0)


def _shares(args: argparse.Namespace, log: Log) -> list[float | None]:
    """The baseline's splits; None: memory is ample and needs none."""
    if args.kv_gib is None:
        return [None]
    if args.stock_share:
        return list(args.stock_share)
    best = plan.best_share(log.rows(), args.shares)
    return list(dict.fromkeys([best or options.HALF, options.HALF]))


def _plan(args: argparse.Namespace, shares: list[float | None]) -> list[Slice]:
    if args.sweep:
        return plan.sweep(args.shares)
    if args.ablate:
        parts = plan.ablation(shares[0], args.our_share, args.planned_share)
    else:
        parts = plan.comparison(
            args.modes, shares, args.our_share, dict(args.variant), args.stock_attention
        )
    return plan.apart(parts) if args.together > 1 else parts


def _left(args: argparse.Namespace, part: Slice, log: Log) -> bool:
    """Whether anything of `part` is not measured yet."""
    done = {row.key for row in log.rows()}
    return any(
        (column.name, n, seed) not in done
        for column in part.columns
        for n in args.widths
        for seed in range(1, args.seeds + 1)
    )


def _measure(
    args: argparse.Namespace,
    setting: Setting,
    parts: list[Slice],
    number: int,
    log: Log,
    folder: Path,
) -> list[dict[str, Any]]:
    """Boot what `parts[number]` needs and measure it; returns the records of the real task."""
    part = parts[number]
    stock = Stock(setting, part.share, folder, part.stock_attention) if part.has_stock else None
    ours = Ours(setting, part.our_share, part.config, folder) if part.has_ours else None
    alone = args.slice is None
    turn = nullcontext if alone else slices.Turns(args.log)
    if not alone:
        slices.report_ready()
    with turn():
        machine = log.machine()
        if machine is None or not machine.covers({*args.widths, setting.peak_rows}):
            machine = measure_machine(setting, stock, ours, args.widths)
            log.add_machine(machine)
    if not alone:
        slices.report_started()
    found = compare(
        setting,
        part.columns,
        stock,
        ours,
        machine,
        args.widths,
        range(1, args.seeds + 1),
        done={row.key for row in log.rows()},
        deadline=args.deadline,
        turn=turn,
    )
    for row in found:
        print(log.add(row), flush=True)
    last = not any(later.has_ours for later in parts[number + 1 :])  # has everything switched on
    if args.out and args.timeline and ours is not None and last:
        with turn():
            searches = ours.timelines(args.timeline, setting.prompt_tokens, args.modes)
        report.draw(plots.slots, searches, args.timeline, args.out.with_suffix(".slots.png"))
    if args.quick and alone and stock is not None:
        return real_task.compare(stock, args.problems, setting)
    return []


def _report(
    args: argparse.Namespace,
    setting: Setting,
    parts: list[Slice],
    log: Log,
    real: list[dict[str, Any]],
) -> None:
    """Print the report of everything in the log that belongs to `parts`; write it to --out."""
    names = [column.name for part in parts for column in part.columns]
    rows = [row for row in log.rows() if row.system in names]
    if not rows:
        print("nothing was measured within --minutes: no report", file=sys.stderr)
        return
    rows.sort(key=lambda row: (names.index(row.system), row.n, row.seed))
    best = plan.best_share(log.rows(), args.shares) if args.kv_gib is not None else None
    text = report.page(setting, rows, real, best)
    print(text)
    if args.out:
        args.out.write_text(text)
        report.draw(plots.over_width, rows, args.out.with_suffix(".png"))
        if args.ablate:
            report.draw(plots.ablation, rows, args.out.with_suffix(".ablation.png"))


if __name__ == "__main__":
    main()
