"""Ordinary requests on a fresh engine, printed as JSON: with our plugin or without it.

python -m tests.runtime.ordinary plugin|stock ENGINE_ARGS_JSON

Run as a process of its own, because the two must not share a process. Without a GPU both sides use
our CPU fallbacks, without which SGLang does not start there; nothing else of ours is loaded for
`stock`.
"""

import json
import sys
from typing import Any

from fasttts_sglang.models import tiny_task
from fasttts_sglang.runtime import cpu

PROBLEMS = tiny_task.problems(31, 12, "heldout")
GREEDY = {"temperature": 0, "max_new_tokens": 80}
SAMPLED = {"temperature": 1.0, "max_new_tokens": 60}
REQUESTS: list[dict[str, Any]] = [
    {"prompt": PROBLEMS[0], "sampling_params": GREEDY},
    {"prompt": PROBLEMS, "sampling_params": GREEDY},
    {"prompt": PROBLEMS[1], "sampling_params": SAMPLED},
    {"prompt": PROBLEMS, "sampling_params": SAMPLED},
    {"prompt": PROBLEMS[:6], "sampling_params": {**SAMPLED, "top_p": 0.9, "top_k": 20}},
    {"prompt": PROBLEMS[2], "sampling_params": {**SAMPLED, "n": 4, "stop": ["\n\n"]}},
    {"prompt": PROBLEMS[3], "sampling_params": {**SAMPLED, "sampling_seed": 5}},
    {"prompt": PROBLEMS[:3], "sampling_params": GREEDY, "return_logprob": True},
    {"prompt": PROBLEMS[4], "sampling_params": {**GREEDY, "frequency_penalty": 1.0}},
]


def main(kind: str, engine_args: dict[str, Any]) -> None:
    """Boot, run all requests in order, print their tokens; `plugin` searches beside the last."""
    from fasttts_sglang.engine import TINY, FastTTSEngine

    engine_args = {"random_seed": 1, "max_total_tokens": 30_000, **engine_args}
    if kind == "plugin":
        with FastTTSEngine(**engine_args) as engine:
            rounds = [_tokens(engine.generate(**request)) for request in REQUESTS]
            beside = _beside_a_search(engine)
    else:
        import sglang

        if cpu.prepare():
            engine_args = {**cpu.server_args(), **engine_args}
        stock = sglang.Engine(model_path=str(TINY / "generator"), page_size=1, **engine_args)
        rounds = [_tokens(stock.generate(**request)) for request in REQUESTS]
        beside = _tokens(stock.generate(**REQUESTS[1]))
        stock.shutdown()
    print("ORDINARY " + json.dumps({"rounds": rounds, "beside": beside}))


def _beside_a_search(engine: Any) -> list[Any]:
    """The greedy batch once more while searches run."""
    import asyncio

    from fasttts_sglang import SearchParams

    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8})

    async def both() -> list[Any]:
        searches = [asyncio.ensure_future(engine.async_search(p, params)) for p in PROBLEMS[:3]]
        await asyncio.sleep(0.3)
        ordinary = await engine._engine.async_generate(**REQUESTS[1])
        await asyncio.gather(*searches)
        return _tokens(ordinary)

    return engine._engine.loop.run_until_complete(both())


def _tokens(outputs: Any) -> list[Any]:
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return [[o["output_ids"], o["text"], o["meta_info"]["finish_reason"]] for o in outputs]


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
