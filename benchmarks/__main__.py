"""fasttts-bench: replayed searches on stock SGLang and on ours, side by side.

python -m benchmarks --quick            # the tiny pair on a CPU, under three minutes
python -m benchmarks --gpu --widths 64  # 1.5B + 1.5B on a GPU, ample memory
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fasttts_sglang.search.params import SPECULATION

from . import plots, real_task
from .compare import Ours, Setting, Stock, compare
from .environment import describe
from .measures import Measures, table
from .shapes import SHAPES

QUICK = Setting(
    generator="tiny",
    verifier="tiny",
    spec='{"mean_tokens": 16, "min_steps": 3, "max_steps": 5}',
    prompt_tokens=40,
    stock_args={"max_total_tokens": 40_000},
    our_args={"max_total_tokens": 40_000},
)
GPU_ARGS = {
    "attention_backend": "triton",
    "disable_prefill_cuda_graph": True,
    "cuda_graph_max_bs_decode": 256,
}
GPU = Setting(
    generator="1.5b",
    verifier="1.5b",
    spec="{}",
    prompt_tokens=200,
    stock_args={
        **GPU_ARGS,
        "generator_args": {"mem_fraction_static": 0.35},
        "verifier_args": {"mem_fraction_static": 0.4},
    },
    our_args={**GPU_ARGS, "max_total_tokens": 600_000},
    config={"kv_split": "0.3"},  # the stock engines have their memory on the same card
)


def main() -> None:
    """Measure; print one JSON line per search as it is done, and a table."""
    # the two systems run in one process and need different model classes
    os.environ.setdefault("SGLANG_DISABLED_MODEL_ARCHS", "")
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="the tiny pair on a CPU")
    size.add_argument("--gpu", action="store_true", help="real shapes on a GPU")
    parser.add_argument("--widths", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=5, help="searches per width and system")
    parser.add_argument("--out", type=Path, help="write the report here, and a plot beside it")
    parser.add_argument("--log", type=Path, help="append every search here; go on where it ends")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--problems", type=int, default=4, help="of the real task, with --quick")
    parser.add_argument("--kv-gib", type=float, help="KV budget of both models; default: ample")
    parser.add_argument(
        "--stock-share", type=float, default=0.5, help="the verifier's part, set by the user"
    )
    parser.add_argument("--our-share", type=float, default=0.3, help="its part with us")
    parser.add_argument(
        "--modes", nargs="+", choices=SPECULATION, help="kinds of speculation to measure"
    )
    parser.add_argument(
        "--timeline", type=int, metavar="N", help="with --out: draw the slots of a search with n=N"
    )
    parser.add_argument("--ablate", action="store_true", help="all kinds of speculation in turn")
    parser.add_argument("--pair", default="1.5b+1.5b", help="generator+verifier, with --gpu")
    args = parser.parse_args()
    if args.quick and args.kv_gib is not None:
        parser.error("--kv-gib: needs --gpu; the tiny pair is no size that memory could limit")
    models = args.pair.split("+")
    if len(models) != 2 or not set(models) <= set(SHAPES):
        parser.error(f"--pair: must be two of {', '.join(SHAPES)} joined by +, got {args.pair!r}")
    deadline = time.monotonic() + args.minutes * 60
    setting = QUICK if args.quick else replace(GPU, generator=models[0], verifier=models[1])
    if args.kv_gib is not None:
        setting = setting.with_budget(args.kv_gib, args.stock_share, args.our_share)
    modes = args.modes or (["full"] if args.quick else ["off", "full"])
    if args.ablate:
        modes = list(SPECULATION)
    widths = args.widths or ([4, 16] if args.quick else [8, 64, 256])
    rows = read_log(args.log)
    done = {(row.n, row.seed) for row in rows}
    seeds = range(1, args.seeds + 1)
    with tempfile.TemporaryDirectory() as folder:
        stock, ours = Stock(setting, Path(folder)), Ours(setting, Path(folder))
        found = compare(
            setting, stock, ours, widths, seeds, modes=modes, done=done, deadline=deadline
        )
        for row in found:
            line = json.dumps(row.to_dict())
            print(line, flush=True)
            rows.append(row)
            if args.log:
                with args.log.open("a") as log:
                    log.write(line + "\n")
        if args.out and args.timeline:
            searches = ours.timelines(args.timeline, setting.prompt_tokens, modes)
            draw(plots.slots, searches, args.timeline, args.out.with_suffix(".slots.png"))
        real = real_task.compare(stock, args.problems, setting) if args.quick else []
    text = report(setting, rows, real)
    print(text)
    if args.out:
        args.out.write_text(text)
        draw(plots.over_width, rows, args.out.with_suffix(".png"))
    sys.stdout.flush()
    os._exit(0)  # engines of one process take each other down when they shut down in turn


def read_log(path: Path | None) -> list[Measures]:
    """Searches of an earlier run."""
    if path is None or not path.exists():
        return []
    records = [json.loads(line) for line in path.read_text().splitlines()]
    names = {field.name for field in fields(Measures)}
    return [Measures(**{k: v for k, v in r.items() if k in names}) for r in records]


def draw(plot: Callable[..., None], *args: Any) -> None:
    """Write a picture beside the report, if matplotlib is there; the last of `args` is its path."""
    try:
        plot(*args)
    except ImportError:
        print(f"{args[-1]} not drawn: matplotlib is missing; install the extra `bench`")


def report(setting: Setting, rows: list[Measures], real: list[dict[str, Any]]) -> str:
    """The whole page."""
    env = describe()
    versions = ", ".join(f"{name} {env[name]}" for name in env if name not in ("command", "device"))
    searches = [row.to_dict() for row in rows]
    record = {"environment": env, "setting": repr(setting), "rows": searches, "real": real}
    return (
        f"# Replay: {setting.generator} + {setting.verifier}\n\n    {env['command']}\n\n"
        f"{env['device']}; {versions}. Median (range) over seeds; the systems alternate, caches are"
        f" cold, both return the same candidates.\n\n{table(rows)}\n\n{real_task.table(real)}\n\n"
        f"```json\n{json.dumps(record)}\n```\n"
    )


if __name__ == "__main__":
    main()
