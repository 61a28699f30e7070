"""Microseconds that our hooks add to a scheduler step, verifier and model not counted.

    python -m benchmarks.hook_time --n 64
    python -m benchmarks.hook_time --n 64 --pair 1.5b+1.5b

Two hooks run in every step: the one before each batch, which a search times itself, and the one
that takes the step's tokens, which is timed here on rows that stand amid a step. That one replaces
SGLang's own loop over requests, so its time is not added to a step but is part of one.
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
from .setting import BRANCH, Setting, of_pair
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


def take_tokens_us(n: int) -> float:
    """The hook that takes a step's tokens, for n rows amid a step; the fastest of five runs."""
    import torch

    from fasttts_sglang.runtime.branch import Branch
    from fasttts_sglang.runtime.decode_results import take_tokens
    from fasttts_sglang.runtime.row import Row
    from fasttts_sglang.runtime.step_rules import StepRules
    from fasttts_sglang.runtime.steps import StepEnds
    from fasttts_sglang.scheduling.step import Step

    replay = Replay(ReplaySpec(mean_tokens=100_000, sigma=0), 1)
    params = SearchParams(max_tokens=1_000_000)
    ends = StepEnds(None, (), (), None, ())
    rules = StepRules(params, params.max_tokens, ends, replay, vocab_size=1000)
    nothing: Any = SimpleNamespace()
    reqs = []
    for index in range(n):
        row = Row(nothing, Branch(Step((index,), None), 0, array("q"), nothing))
        row.req = SimpleNamespace(
            fasttts=row, output_ids=array("q"), finished_reason=None, is_retracted=False
        )
        row.req.to_finish = None
        rules.set_out(row)
        reqs.append(row.req)
    batch = SimpleNamespace(reqs=reqs, return_logprob=False)
    batch.spec_algorithm = SimpleNamespace(is_none=lambda: True)
    reporter = SimpleNamespace(num_generated_tokens=0, forward_ct_decode=0)
    reporter.report_decode_stats = lambda *_, **__: None
    allocator = SimpleNamespace(free_group_begin=lambda: None, free_group_end=lambda: None)
    processor = SimpleNamespace(metrics_reporter=reporter, token_to_kv_pool_allocator=allocator)
    result = SimpleNamespace(copy_done=None, next_token_ids=torch.arange(n), num_correct_drafts=0)
    result.can_run_cuda_graph = True
    times = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(_STEPS):
            take_tokens(_never, processor, batch, result)
        times.append((time.perf_counter() - began) / _STEPS)
    assert all(len(req.output_ids) == 5 * _STEPS for req in reqs)
    return 1e6 * min(times)


def _never(*_: Any) -> None:
    raise AssertionError("a batch of rows alone is none of SGLang's")


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
    parser.add_argument(
        "--tokens-only",
        action="store_true",
        help="boot no engine: the first hook's time stands in every report of a comparison",
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    setting = of_pair(args.pair, args.n, gpu=torch.cuda.is_available())
    taken = take_tokens_us(args.n)
    if args.tokens_only:
        print(f"taking the tokens of {args.n} rows: {taken:.3g} µs")
        return
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(setting, None, {}, Path(folder))
        steps = {m: per_step_us(ours, setting, args.n, m, args.seeds) for m in args.modes}
    lines = [
        "| speculation | before each batch, µs | taking the tokens, µs | both, µs |",
        "|---|---|---|---|",
        *(
            f"| {mode} | {spread(values)} | {taken:.3g} | {statistics.median(values) + taken:.3g} |"
            for mode, values in steps.items()
        ),
    ]
    text = "\n".join(lines)
    env = describe()
    times = {"before_batch": steps, "take_tokens": taken}
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
