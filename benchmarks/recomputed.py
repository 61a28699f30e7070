"""What is computed again where KV memory is short, with the prefix order and without, on a CPU.

python -m benchmarks.recomputed --kv 2000 --n 64 128 256 --seeds 1 2

The tiny pair searches a replay in so many KV tokens per model. Beside what both orders compute
again stands the least that any order could: it may know at once which nodes will survive.
"""

import argparse
import json
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
HEAD = " order {:3}: generator  verifier  steps |"
ROW = "            {generator:9d} {verifier:9d} {steps:6.0f} |"


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
        asked = [(e.node, (*e.node.path, i)) for e in expansions for i in range(e.num_children)]
        for parent, path in asked:
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
        replay=options.spec, prefix_order=options.order == "on", verifier_tokens=options.kv
    )
    models = [f"{options.models}/{role}" for role in ("generator", "verifier")]
    with FastTTSEngine(
        *(models if options.models else ()),
        config=config,
        max_total_tokens=options.kv,
        max_running_requests=options.rows,
        load_format="dummy" if options.models else "auto",
        log_level="error",
    ) as engine:
        for params in searches(options):
            engine.flush_cache()
            result = engine.wait(
                engine.async_search(prompt(params.seed + 13 * params.n, options.prompt), params)
            )
            usage = result.usage
            row = {
                "key": key(params),
                "generator": usage.recomputed_tokens,
                "verifier": usage.verifier_recomputed_tokens,
                "steps": result.timing["decode_steps"],
            }
            print(LINE + json.dumps(row), flush=True)


def key(params: SearchParams) -> str:
    return f"{params.n:5d} {params.seed:4d}  {params.speculation:5}"


def searches(options: argparse.Namespace) -> list[SearchParams]:
    return [
        SearchParams(
            n=n,
            seed=seed,
            speculation=mode,
            temperature=1.0,
            stop=(),
            max_tokens=options.max_tokens,
        )
        for mode in options.speculation
        for n in options.n
        for seed in options.seeds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kv", type=int, default=2000)
    parser.add_argument("--n", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--speculation", nargs="+", default=["off"])
    parser.add_argument(
        "--spec", default='{"mean_tokens": 20, "sigma": 0.5, "min_steps": 8, "max_steps": 12}'
    )
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--order", nargs="+", default=["off", "on"])
    parser.add_argument("--models", help="folder with generator/ and verifier/, without weights")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        options.order = options.order[0]
        measure(options)
        return
    spec = ReplaySpec.from_json(options.spec)
    found = {order: run(order) for order in options.order}
    print("    n seed  spec  |   live  least |" + "".join(HEAD.format(o) for o in options.order))
    for params in searches(options):
        yards = yardstick(spec, params, options.prompt, options.kv)
        line = f"{key(params)} | {yards.live:6d} {yards.least:6d} |"
        for order in options.order:
            row = found[order].get(key(params))
            line += " not run |" if row is None else ROW.format(**row)
        print(line, flush=True)


def run(order: str) -> dict[str, dict[str, Any]]:
    """All searches with one setting of the order, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.recomputed", *sys.argv[1:]]
    command += ["--order", order, "--measure"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(LINE)]
    rows = [json.loads(line.removeprefix(LINE)) for line in lines]
    return {row["key"]: row for row in rows}


if __name__ == "__main__":
    main()
