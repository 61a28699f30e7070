"""What is computed again where KV memory is short, with the prefix order and without, on a CPU.

python -m benchmarks.recomputed --kv 2000 --n 64 128 256 --seeds 1 2

The tiny pair searches a replay in so many KV tokens per model. Beside what both orders compute
again stands the least that any order could: it may know at once which nodes will survive.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Expand, Finish, Node, Path, drive
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.replay import Replay, ReplaySpec

LINE = "RECOMPUTED "


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Tokens of one search in a cache of some size."""

    least: int  # computed again by an order that knows the future, round by round
    live: int  # the largest live tree: a round's parents, up to the prompt, and its children


def yardstick(spec: ReplaySpec, params: SearchParams, prompt_tokens: int, kv: int) -> Yardstick:
    """What the best possible order would compute again.

    All of the tree above a round's nodes was computed in earlier rounds and is needed in this one;
    when the round begins, at most `kv` tokens of it are there.

    >>> yardstick(ReplaySpec(min_steps=2, max_steps=2, sigma=0), SearchParams(n=4), 10, 100)
    Yardstick(least=0, live=360)
    """
    replay = Replay(spec, params.seed)
    sizes: dict[Path, int] = {(): prompt_tokens}
    least = live = 0

    def expand(expansions: Sequence[Expand]) -> list[Node]:
        nonlocal least, live
        needed = {e.node.path[:i] for e in expansions for i in range(len(e.node.path) + 1)}
        held = sum(sizes[path] for path in needed)
        least += max(0, held - kv)
        children = []
        for parent, path in [(e.node, (*e.node.path, i)) for e in expansions for i in range(e.num_children)]:
            left = params.max_tokens - parent.num_tokens
            sizes[path] = min(left, replay.step_tokens(path))
            finish = Finish.LENGTH if sizes[path] == left else replay.finish(path)
            scores = (*parent.scores, replay.score(path))
            children.append(Node(path, scores, parent.num_tokens + sizes[path], finish))
            held += sizes[path]
        live = max(live, held)
        return children

    drive(make(params), expand)
    return Yardstick(least, live)


def prompt(seed: int, tokens: int) -> list[int]:
    return [5 + (seed * 31 + i * 7) % 90 for i in range(tokens)]


def measure(options: argparse.Namespace) -> None:
    """Print what all searches computed again, with one setting of the order."""
    from fasttts_sglang import FastTTSConfig, FastTTSEngine

    config = FastTTSConfig(
        replay=options.spec, prefix_order=options.order == "on", verifier_tokens=options.verifier_kv or options.kv
    )
    import os
    micro = os.environ.get("MICRO")
    models = [micro + "/generator", micro + "/verifier"] if micro else []
    more = {"load_format": "dummy"} if micro else {}
    with FastTTSEngine(
        *models, **more, config=config, max_total_tokens=options.kv, max_running_requests=options.rows, log_level=options.log_level
    ) as engine:
        for params in searches(options):
            engine.flush_cache()
            result = engine.wait(engine.async_search(prompt(params.seed + 13 * params.n, options.prompt), params))
            usage = result.usage
            row = {"n": params.n, "seed": params.seed, "speculation": params.speculation, "generator": usage.recomputed_tokens, "verifier": usage.verifier_recomputed_tokens, "steps": result.timing["decode_steps"], "seconds": round(result.timing["total_s"], 2), "scheduling_s": round(result.timing["scheduling_s"], 2)}
            print(LINE + json.dumps(row), flush=True)


def searches(options: argparse.Namespace) -> list[SearchParams]:
    return [
        SearchParams(n=n, seed=seed, speculation=mode, temperature=1.0, stop=(), max_tokens=options.max_tokens)
        for mode in options.speculation for n in options.n for seed in options.seeds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kv", type=int, default=2000)
    parser.add_argument("--verifier-kv", type=int)
    parser.add_argument("--n", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--speculation", nargs="+", default=["off"])
    parser.add_argument("--spec", default='{"mean_tokens": 20, "sigma": 0.5, "min_steps": 8, "max_steps": 12}')
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--order", nargs="+", default=["off", "on"])
    parser.add_argument("--log-level", default="error")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        options.order = options.order[0]
        measure(options)
        return
    spec = ReplaySpec.from_json(options.spec)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for order in options.order:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.recomputed", *sys.argv[1:], "--measure", "--order", order]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith(LINE):
                row = json.loads(line.removeprefix(LINE))
                found[order, row["n"], row["seed"], row["speculation"]] = row
    print("  n seed spec |  live  least g/v |" + "".join(f" {o:>4}: gener  verifier steps sec |" for o in options.order))
    for params in searches(options):
        yard = yardstick(spec, params, options.prompt, options.kv)
        vyard = yardstick(spec, params, options.prompt, options.verifier_kv or options.kv)
        cells = []
        for order in options.order:
            r = found.get((order, params.n, params.seed, params.speculation))
            cells.append(f"  {r['generator']:7d} {r['verifier']:8d} {r['steps']:6.0f} {r['seconds']:5.1f} {r['scheduling_s']:4.1f} |" if r else " - |")
        print(f"{params.n:4d} {params.seed} {params.speculation:5} | {yard.live:6d} {yard.least:5d} {vyard.least:5d} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
