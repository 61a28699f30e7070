"""Searches in a KV memory in which their live trees do not fit, in a process of its own.

python -m tests.runtime.tight on|off prints, with the prefix order on or off, one JSON
object per search: what it found, and what it had to compute again. With "decoded" it does so
without the order and as in deterministic mode, where that is decoded again, and prints how many
tokens those were. With "ahead" it prints the same of one search that fits in later rounds, though
not in the first.
"""

import asyncio
import json
import sys

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams, SearchResult

REPLAY = '{"mean_tokens": 10, "sigma": 0.5, "min_steps": 8, "max_steps": 12}'
TOKENS = 1000  # of KV per model; the live tree of n=128 has twice as many
GREEDY = {"temperature": 0, "max_new_tokens": 24, "ignore_eos": True}


def prompt(seed: int) -> list[int]:
    return [5 + (seed * 31 + i * 7) % 90 for i in range(50)]


def found(result: SearchResult) -> list[object]:
    """What no order may change."""
    steps = [[step.token_ids for step in c.steps] for c in result.candidates]
    return [[c.path for c in result.candidates], steps]


def search(engine: FastTTSEngine, n: int, seed: int, speculation: str) -> dict[str, object]:
    params = SearchParams(
        n=n, seed=seed, temperature=1.0, stop=(), max_tokens=200, speculation=speculation
    )

    async def beside_others() -> list[object]:
        ordinary = [
            engine._engine.async_generate(input_ids=prompt(50 + i), sampling_params=GREEDY)
            for i in range(4)
        ]
        return await asyncio.gather(engine.async_search(prompt(seed), params), *ordinary)

    engine.flush_cache()
    result, *ordinary = engine.wait(beside_others())
    assert isinstance(result, SearchResult)
    texts = [reply["output_ids"] for reply in ordinary]  # type: ignore[index]
    return {"found": found(result), "ordinary": texts, **result.to_dict()["usage"]}


def main(which: str) -> None:
    decoded = ("all_decoded=tests.runtime.all_decoded:Algorithm",) if which == "decoded" else ()
    config = FastTTSConfig(
        replay=REPLAY, prefix_order=which == "on", verifier_tokens=TOKENS, algorithms=decoded
    )
    with FastTTSEngine(config=config, max_total_tokens=TOKENS, max_running_requests=128) as engine:
        for n, seed, speculation in ((64, 1, "off"), (128, 7, "off"), (64, 2, "full")):
            print("TIGHT " + json.dumps(search(engine, n, seed, speculation)), flush=True)
        engine.wait(asyncio.sleep(1.5))  # idle: the leak check runs
        engine.generate(input_ids=prompt(1), sampling_params=GREEDY)
    print("TIGHT null", flush=True)


def ahead() -> None:
    replay = '{"mean_tokens": 30, "sigma": 0.6, "min_steps": 5, "max_steps": 9}'
    config = FastTTSConfig(replay=replay, verifier_tokens=12_000)
    params = SearchParams(n=128, seed=1, temperature=1.0, stop=(), max_tokens=800)
    with FastTTSEngine(config=config, max_total_tokens=5000, max_running_requests=128) as engine:
        result = engine.wait(engine.async_search(prompt(1), params))
        counts = {**result.to_dict()["usage"], "decode_steps": result.timing["decode_steps"]}
        print("TIGHT " + json.dumps(counts), flush=True)
    print("TIGHT null", flush=True)


if __name__ == "__main__":
    ahead() if sys.argv[1] == "ahead" else main(sys.argv[1])
