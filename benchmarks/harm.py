"""What searches cost ordinary requests beside them, with and without speculation.

    python -m benchmarks.harm                                        # the tiny pair, on a CPU too
    python -m benchmarks.harm --pair 1.5b+1.5b --n 64 --requests 256 --concurrency 32

A fixed load of ordinary requests, so many at a time, runs beside searches that follow one another
without a pause; its throughput is what counts. Modes alternate, and losses are taken pairwise, from
runs that followed each other.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.search.params import SPECULATION

from .environment import describe
from .measures import spread
from .setting import BRANCH, Setting, of_pair
from .shapes import PAIRS
from .systems import Ours

ALONE, BASE = "no search", "off"
_HEAD_START_S = 0.05  # the first search is under way when the load begins


class Load:
    """Ordinary requests: each decodes `tokens` tokens after a prompt of its own."""

    def __init__(self, requests: int, concurrency: int, prompt_tokens: int, tokens: int) -> None:
        self.tokens = requests * tokens
        self._requests, self._concurrency = requests, concurrency
        self._prompt_tokens = prompt_tokens
        self._sampling = {"max_new_tokens": tokens, "ignore_eos": True, "temperature": 1.0}

    async def run(self, engine: FastTTSEngine) -> None:
        """Until all are answered."""
        gate = asyncio.Semaphore(self._concurrency)

        async def one(number: int) -> None:
            prompt = [5 + (13 * number + i * i) % 90 for i in range(self._prompt_tokens)]
            async with gate:
                await engine._engine.async_generate(
                    input_ids=prompt, sampling_params=self._sampling
                )

        await asyncio.gather(*map(one, range(self._requests)))


async def beside(
    engine: FastTTSEngine, load: Load, searches: Iterable[tuple[list[int], SearchParams]]
) -> dict[str, Any]:
    """Run `load` beside `searches`, one after the other; the last is cancelled with its end."""
    finished = 0

    async def search() -> None:
        nonlocal finished
        for prompt, params in searches:
            await engine.async_search(prompt, params)
            finished += 1

    task = asyncio.ensure_future(search())
    await asyncio.sleep(_HEAD_START_S)
    began = time.perf_counter()
    await load.run(engine)
    seconds = time.perf_counter() - began
    if task.done():
        task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return {"tokens_per_s": load.tokens / seconds, "searches_per_s": finished / seconds}


def endless(
    setting: Setting, n: int, mode: str, first: int
) -> Iterator[tuple[list[int], SearchParams]]:
    """Searches with seeds from `first` on, each with a prompt of its own."""
    for seed in itertools.count(first):
        params = SearchParams(
            n=n, branch=BRANCH, temperature=1.0, stop=(), speculation=mode, seed=seed
        )
        yield [5 + (seed + i * i) % 90 for i in range(setting.prompt_tokens)], params


def measure(
    engine: FastTTSEngine, load: Load, setting: Setting, n: int, repeats: int, modes: Sequence[str]
) -> list[dict[str, Any]]:
    """One record per repeat and mode; the first repeat warms up and is left out."""
    records = []
    for repeat in range(repeats + 1):
        runs = [ALONE, *modes]
        for run in runs[:: 1 if repeat % 2 else -1]:
            searches = () if run == ALONE else endless(setting, n, run, 1000 * repeat)
            engine.flush_cache()
            found = engine.wait(beside(engine, load, searches))
            if repeat:
                records.append({"repeat": repeat, "beside": run, **found})
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """Throughput of the load per mode, and what it loses against searches without speculation."""
    lines = [
        "| beside the load | its tok/s | loss against speculation off, % | searches per s |",
        "|---|---|---|---|",
    ]
    by_run: dict[str, dict[int, dict[str, Any]]] = {}
    for record in records:
        by_run.setdefault(record["beside"], {})[record["repeat"]] = record
    base = by_run[BASE]
    for run in sorted(by_run, key=[ALONE, *SPECULATION].index):
        part = by_run[run]
        losses = [
            100 * (1 - part[repeat]["tokens_per_s"] / base[repeat]["tokens_per_s"])
            for repeat in part
        ]
        rate = spread([record["tokens_per_s"] for record in part.values()])
        searches = statistics.median(record["searches_per_s"] for record in part.values())
        loss = "" if run in (ALONE, BASE) else spread(losses)
        lines.append(f"| {run} | {rate} | {loss} | {searches:.2g} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print one JSON line and the table, and write both to --out."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", default="tiny", choices=["tiny", *PAIRS])
    parser.add_argument("--n", type=int, default=16, help="beams of the searches")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="decoded per request")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--modes", nargs="+", choices=SPECULATION, default=[BASE, "full"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if BASE not in args.modes:
        parser.error(f"--modes: must contain {BASE}, which the others are compared with")
    setting = of_pair(args.pair, args.n + args.concurrency, gpu=torch.cuda.is_available())
    load = Load(args.requests, args.concurrency, setting.prompt_tokens, args.tokens)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(setting, None, {}, Path(folder))
        records = measure(ours.engine, load, setting, args.n, args.repeats, args.modes)
    env = describe()
    text = table(records)
    line = json.dumps({"environment": env, "setting": repr(setting), "rows": records})
    print(line)
    print(text, flush=True)
    if args.out:
        head = f"# Ordinary requests beside searches: {setting.name}\n\n    {env['command']}\n\n"
        about = f"{env['device']}; n={args.n}; median (range) of {args.repeats} repeats.\n\n"
        args.out.write_text(f"{head}{about}{text}\n\n```json\n{line}\n```\n")
    os._exit(0)  # nothing to save, and an engine takes seconds to shut down


if __name__ == "__main__":
    main()
