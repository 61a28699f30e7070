"""Searches in a memory that is split badly and moved by nobody but the planner, in its own process.

Prints one JSON object.
"""

import json
from typing import Any

from benchmarks.workload import work
from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams
from fasttts_sglang.search.replay import ReplaySpec

REPLAY = '{"mean_tokens": 20, "min_steps": 5, "max_steps": 5}'
PROMPT = 40


def main() -> None:
    config = FastTTSConfig(replay=REPLAY, kv_split="0.9", kv_resize="auto")
    found: dict[str, Any] = {"same": []}
    with FastTTSEngine(config=config, max_total_tokens=1100, max_running_requests=64) as engine:

        def budget() -> Any:
            kv: Any = engine.wait(engine._client.memory())
            return kv["budget"]

        found["before"] = budget()
        for seed in range(1, 4):
            params = SearchParams(n=64, seed=seed, temperature=1.0, stop=(), max_tokens=400)
            prompt = [5 + (seed * 31 + i) % 90 for i in range(PROMPT)]
            result = engine.wait(engine.async_search(prompt, params))
            needed = work(ReplaySpec.from_json(REPLAY), params, PROMPT)
            found["same"].append(tuple(c.path for c in result.candidates) == needed.candidates)
        found["after"] = budget()
    print("REPLANNING " + json.dumps(found))


if __name__ == "__main__":
    main()
