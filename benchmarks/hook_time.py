"""Microseconds that our hooks add to a scheduler step, verifier and model not counted.

    python -m benchmarks.hook_time --n 64
    python -m benchmarks.hook_time --n 64 --pair 1.5b+1.5b

Two hooks run in every step: the one before each batch, which a search times itself, and the one
that looks at every new token, which is timed here on rows that stand amid a step.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fasttts_sglang import SearchParams
from fasttts_sglang.search.params import SPECULATION
from fasttts_sglang.search.replay import Replay, ReplaySpec

from .environment import describe
from .measures import spread
from .setting import BRANCH, QUICK, Setting, shaped
from .shapes import PAIRS
from .systems import Ours

_STEPS = 400


def per_step_us(ours: Ours, setting: Setting, n: int, mode: str, seeds: int) -> list[float]:
    """Scheduling time per decode step of searches with n beams, one value per search."""
    params = SearchParams(n=n, branch=BRANCH, temperature=1.0, stop=(), speculation=mode)
    found = []
    for seed in range(seeds + 1):
        prompt = [5 + (seed + len(mode) + i * i) % 90 for i in range(setting.prompt_tokens)]
        ours.engine.flush_cache()
        result, _ = ours.search(prompt, params.replace(seed=seed))
        found.append(1e6 * result.timing["scheduling_s"] / result.timing["decode_steps"])
    return found[1:]  # the first warms up


def on_token_us(n: int, tokenizer: Any) -> float:
    """The hook that looks at a step's new tokens, for n rows; the fastest of five measurements.

    Args:
        tokenizer: Steps end at a blank line of it; None: after a number of tokens, as in a replay.
    """
    from fasttts_sglang.runtime import hooks
    from fasttts_sglang.runtime.active_search import ActiveSearch
    from fasttts_sglang.runtime.branch import Branch
    from fasttts_sglang.runtime.row import Row
    from fasttts_sglang.runtime.search_runner import SearchRunner
    from fasttts_sglang.runtime.step_rules import StepRules
    from fasttts_sglang.runtime.steps import StepEnds
    from fasttts_sglang.scheduling.tree import Step

    replay = Replay(ReplaySpec(mean_tokens=100_000, sigma=0), 1) if tokenizer is None else None
    params = SearchParams(n=n, max_tokens=1_000_000, max_step_tokens=1_000_000)
    steps = StepEnds(tokenizer, params.stop if tokenizer else (), (), None, [2])
    search: Any = SimpleNamespace(rules=StepRules(params, params.max_tokens, steps, replay))
    search.rid, search.on_token = "search", lambda row: ActiveSearch.on_token(search, row)
    runner: Any = SimpleNamespace(_is_live=lambda some: some is search)
    runner.on_token = lambda req: SearchRunner.on_token(runner, req)
    search.runner = runner
    tokens = [5, 6, 7] if tokenizer is None else tokenizer.encode("12+3*4=")  # no blank line
    reqs = []
    for index in range(n):
        branch = Branch(Step((index,), None, steps=1), 0, array("q"), SimpleNamespace())  # type: ignore[arg-type]
        row = Row(search, branch)
        row.req = SimpleNamespace(
            fasttts=row, output_ids=array("q", [5]), vocab_size=1000, to_finish=None
        )
        row.req.finished = lambda: False
        search.rules.set_out(row)
        reqs.append(row.req)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for step in range(_STEPS):
            for req in reqs:
                req.output_ids.append(tokens[step % len(tokens)])
                hooks.watch_rows(_never, req)
        times.append((time.perf_counter() - began) / (_STEPS))
    return 1e6 * min(times)


def _never(*_: Any) -> None:
    raise AssertionError("a row of a search is none of SGLang's")


def main() -> None:
    """Measure, print one JSON line and a table, and write both to --out."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", default="tiny", choices=["tiny", *PAIRS])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--modes", nargs="+", choices=SPECULATION, default=SPECULATION)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    setting = QUICK
    if args.pair != "tiny":
        generator, verifier = args.pair.split("+")
        gpu = torch.cuda.is_available()
        setting = shaped(generator, verifier, [args.n], "{}", None, gpu=gpu)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(setting, None, {}, Path(folder))
        steps = {m: per_step_us(ours, setting, args.n, m, args.seeds) for m in args.modes}
    tokenizer = ours.engine._engine.tokenizer_manager.tokenizer
    counted = on_token_us(args.n, None)
    read = None if tokenizer is None else on_token_us(args.n, tokenizer)
    lines = [
        "| speculation | before each batch, µs | at each token, µs | both, µs |",
        "|---|---|---|---|",
        *(
            f"| {mode} | {spread(values)} | {counted:.3g} |"
            f" {statistics.median(values) + counted:.3g} |"
            for mode, values in steps.items()
        ),
    ]
    text = "\n".join(lines)
    if read is not None:
        text += f"\n\nWhere steps end at a blank line, looking at the tokens takes {read:.3g} µs."
    env = describe()
    times = {"before_batch": steps, "on_token": counted, "on_token_reading_text": read}
    line = json.dumps({"environment": env, "n": args.n, "us": times})
    print(line)
    print(text, flush=True)
    if args.out:
        head = f"# Hook time per scheduler step: {setting.name}, n={args.n}\n\n"
        about = f"    {env['command']}\n\n{env['device']}; median (range) over searches.\n\n"
        args.out.write_text(f"{head}{about}{text}\n\n```json\n{line}\n```\n")
    os._exit(0)  # nothing to save, and an engine takes seconds to shut down


if __name__ == "__main__":
    main()
