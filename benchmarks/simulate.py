"""How many decode steps a replayed search takes, by simulation: seconds on a CPU, no model.

    python -m benchmarks.simulate --n 8 64 256 --seeds 5
    python -m benchmarks.simulate --n 64 --burst 1 2 4 8

The scheduler side is the real one: search runner, tree, estimates, slots, scoring. SGLang and the
device are not: a decode step takes as long as measured on an H200, a verifier's call likewise, the
two share the device, and memory is ample. For choosing between policies before one is measured; no
claim stands on it. Other models: `--costs 3.6 0.022 3 0.0054` is about 7B+1.5B there, and
`--costs 1.7 0.0083 3 0.021` 1.5B+7B.
"""

import argparse
import statistics
import sys
from array import array
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fasttts_sglang.config import FastTTSConfig
from fasttts_sglang.runtime.messages import SearchMessage
from fasttts_sglang.runtime.reading import ScoreJob
from fasttts_sglang.runtime.rendering import SharedTokens
from fasttts_sglang.runtime.row import Row
from fasttts_sglang.runtime.row_requests import prefix
from fasttts_sglang.runtime.rows import RowFactory
from fasttts_sglang.runtime.search_runner import SearchRunner
from fasttts_sglang.search.params import SPECULATION, SearchParams
from fasttts_sglang.search.replay import ReplaySpec

from .setting import BRANCH
from .workload import work

_TOKEN = 7  # what every step decodes


@dataclass(frozen=True, slots=True)
class Costs:
    """Milliseconds. A decode step and a verifier's call cost so much, and more per row or token.

    Beside a call of the verifier a step takes `beside` times as long.

    Source: 1.5B+1.5B on one H200, reports/1.5b+1.5b_h200_2026-11-27.md: steps of 2.2 ms with 64
    rows and 3.8 ms with 256; the verifier's 180,000 tokens per second of
    reports/1.5b+1.5b_h200_2026-11-30b.md, about. A call's fixed cost and `beside` are rough.
    """

    step: float = 1.7
    row: float = 0.0083
    call: float = 3.0
    token: float = 0.0054
    beside: float = 2.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """One search."""

    ms: float
    steps: int
    chain: int  # the longest chain of dependent tokens: no search takes fewer steps
    rows: float  # in the mean step
    kept: int  # tokens decoded ahead that were asked for later
    wasted: int
    calls: int  # of the verifier
    verified: int  # tokens


class _Verifier:
    """Calls are done one after the other, beside the decode steps."""

    renderer, max_tokens = SharedTokens(), sys.maxsize

    def __init__(self, costs: Costs) -> None:
        self.costs, self.now, self.free_at = costs, 0.0, 0.0
        self.calls = self.tokens = 0
        self._running: list[tuple[float, Sequence[ScoreJob]]] = []

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def path_budget(self, _prompt_tokens: int, max_tokens: int) -> int:
        return max_tokens

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        if not jobs:
            return
        tokens = sum(len(job.token_ids) - job.begin_unknown for job in jobs)
        for job in jobs:
            job.missing = 1
        self.calls, self.tokens = self.calls + 1, self.tokens + tokens
        took = self.costs.call + self.costs.token * tokens
        self.free_at = max(self.now, self.free_at) + took
        self._running.append((self.free_at, jobs))

    def step(self) -> None:
        while self._running and self._running[0][0] <= self.now:
            for job in self._running.pop(0)[1]:
                job.missing, job.scores = 0, [0.5] * len(job.ends)

    def wait(self) -> None:
        self.now = max(self.now, self._running[0][0])

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        pass


class _Request(SimpleNamespace):
    """What a row needs of SGLang's Req."""

    def finished(self) -> bool:
        return self.finished_reason is not None

    def update_finish_state(self, _new: int) -> None:
        self.fasttts.search.runner.on_token(self)


class _Batch:
    def __init__(self, reqs: list[_Request]) -> None:
        self.reqs = reqs

    def batch_size(self) -> int:
        return len(self.reqs)

    def is_empty(self) -> bool:
        return not self.reqs

    def merge_batch(self, other: "_Batch") -> None:
        self.reqs = self.reqs + other.reqs


class _Rows(RowFactory):
    """Every row can be forked at once."""

    free_tokens = free_rows = 1 << 40  # type: ignore[assignment]
    used_tokens = 0  # type: ignore[assignment]

    def path_budget(self, _prompt_tokens: int, max_tokens: int) -> int:
        return max_tokens

    def freeing_together(self) -> Any:
        return nullcontext()

    def reaches(self, _search: Any, _step: Any) -> bool:
        return True

    def enqueue(self, row: Row) -> None:
        self._scheduler.waiting_queue.append(_request(row))

    def fork(self, rows: Sequence[Row], _reserved: int | None = None) -> Any:
        return (_Batch([_request(row) for row in rows]) if rows else None), []

    def settle(self, _going_on: Any, ending: Sequence[Row]) -> None:
        self.end(ending)

    def end(self, rows: Sequence[Row], *, keep: bool = True) -> None:
        for row in rows:
            row.search.rows.pop(row, None)
            self.finish(row.req)

    def go_on(self, row: Row) -> None:
        row.take_surplus()


def _request(row: Row) -> "_Request":
    row.req = _Request(
        rid=prefix(row.search.rid),
        fasttts=row,
        output_ids=array("q", row.branch.partial or ()),
        vocab_size=_TOKEN + 1,
        finished_reason=None,
        to_finish=None,
    )
    row.branch.row, row.search.rows[row] = row, None
    return row.req


def simulate(
    params: SearchParams, spec: str, prompt_tokens: int, burst: int, costs: Costs
) -> Simulated:
    """One search alone on a device, under the overlap schedule.

    >>> simulate(SearchParams(n=4, branch=2), '{"sigma": 0, "max_steps": 6}', 9, 4, Costs()).chain
    420
    """
    replies: list[Any] = []
    sender = SimpleNamespace(send_output=lambda output, _: replies.append(output))
    scheduler = SimpleNamespace(
        **dict.fromkeys(("tokenizer", "chunked_req", "token_to_kv_pool_allocator", "tree_cache")),
        req_to_token_pool=None,
        waiting_queue=[],
        max_running_requests=1 << 20,
        model_config=SimpleNamespace(
            vocab_size=_TOKEN + 1, context_len=sys.maxsize, hf_eos_token_id=()
        ),
        ipc_channels=SimpleNamespace(send_to_tokenizer=sender),
    )
    verifier = _Verifier(costs)
    config = FastTTSConfig(replay=spec, prefix_order=False)
    runner = SearchRunner(scheduler, config, verifier, _Rows(scheduler))
    ids = [1] * prompt_tokens
    runner.admit(SearchMessage(rid="0", params=params.to_dict(), prompt_ids=ids, problem=None))
    running, steps, in_rows = _Batch([]), 0, 0
    before: tuple[list[_Request], int] = [], 0  # the batch whose tokens have not been looked at
    while True:
        running.reqs = [req for req in running.reqs if not req.finished()]
        running = runner.step(running)
        if replies:
            break
        reqs = [req for req in running.reqs if not req.finished()] + scheduler.waiting_queue
        running.reqs, scheduler.waiting_queue = reqs, []
        ahead = any(search.tree.num_decoding for search in runner.searches())
        launched = (list(reqs), burst if ahead else 1)
        _take(*before)  # while the device is at the next batch
        before = launched if reqs else ([], 0)
        if reqs:
            steps, in_rows = steps + before[1], in_rows + before[1] * len(reqs)
            shared = costs.beside if verifier.free_at > verifier.now else 1.0
            verifier.now += before[1] * (costs.step + costs.row * len(reqs)) * shared
    usage = replies[-1].usage
    needs = work(ReplaySpec.from_json(spec), params, prompt_tokens)
    assert len(replies[-1].candidates) == len(needs.candidates), replies[-1].error
    return Simulated(
        verifier.now,
        steps,
        needs.chain_tokens,
        in_rows / steps,
        usage["speculated_kept"],
        usage["speculated_wasted"],
        verifier.calls,
        verifier.tokens,
    )


def _take(reqs: Sequence[_Request], steps: int) -> None:
    """Give every row its tokens."""
    for req in reqs:
        if not req.finished() and req.fasttts.take([_TOKEN] * steps):
            req.finished_reason = "ended"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, nargs="+", default=[64])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--modes", nargs="+", choices=SPECULATION, default=["full"])
    parser.add_argument("--burst", type=int, nargs="+", default=[FastTTSConfig().decode_burst])
    parser.add_argument("--spec", default="{}", help="a ReplaySpec as JSON")
    parser.add_argument("--prompt", type=int, default=150)
    parser.add_argument(
        "--costs",
        type=float,
        nargs=4,
        metavar=("STEP", "ROW", "CALL", "TOKEN"),
        help="of a decode step, each row of it, a call of the verifier, each token of it; in ms",
    )
    args = parser.parse_args()
    costs = Costs(*args.costs) if args.costs else Costs()
    print(
        "|   n | mode  | burst |   ms | steps | of chain | rows | ahead kept | calls | verified |"
    )
    for n, mode, burst in ((n, m, b) for n in args.n for m in args.modes for b in args.burst):
        params = SearchParams(n=n, branch=BRANCH, temperature=1.0, stop=(), speculation=mode)
        found = [
            simulate(params.replace(seed=seed), args.spec, args.prompt, burst, costs)
            for seed in range(1, args.seeds + 1)
        ]
        mean = {
            name: statistics.fmean(getattr(one, name) for one in found)
            for name in ("ms", "steps", "rows", "calls", "verified")
        }
        ahead = sum(one.kept + one.wasted for one in found)
        kept = f"{sum(one.kept for one in found) / ahead:.0%}" if ahead else "-"
        ratio = statistics.fmean(one.steps / one.chain for one in found)
        print(
            f"| {n:3} | {mode:5} | {burst:5} | {mean['ms']:4.0f} | {mean['steps']:5.0f} |"
            f" {ratio:8.2f} | {mean['rows']:4.0f} | {kept:>10} | {mean['calls']:5.0f} |"
            f" {mean['verified']:8.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
