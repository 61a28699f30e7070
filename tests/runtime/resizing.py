"""Searches while their KV memory moves between the models, in a process of its own.

Two engines one after the other: one with pools of fixed size and plenty of memory, and one with
little, whose split is changed all the time. Prints one JSON object.
"""

import json
import os
import random
import threading
import time
from typing import Any

from fasttts_sglang import BadRequest, FastTTSEngine, SearchParams, SearchResult
from fasttts_sglang.config import FastTTSConfig
from fasttts_sglang.models import tiny_task

PROBLEMS = tiny_task.problems(5, 4, "heldout")
PARAMS = [
    SearchParams.from_dict({**tiny_task.SEARCH, "n": 16, "seed": seed, "max_tokens": 500})
    for seed in range(len(PROBLEMS))
]
CHANGES = 200


def said(results: list[SearchResult]) -> list[Any]:
    """What must not depend on memory."""
    return [[result.answer, [[c.text, c.score] for c in result.candidates]] for result in results]


def undisturbed() -> list[Any]:
    config = FastTTSConfig(decode_burst=1)
    with FastTTSEngine(config=config, max_total_tokens=30_000, max_running_requests=64) as engine:
        return said(engine.search(PROBLEMS, PARAMS))


def disturbed() -> dict[str, Any]:
    rng = random.Random(0)
    found: dict[str, Any] = {"results": [], "refused": []}
    config = FastTTSConfig(kv_resize="auto", host_offload="64MiB")
    with FastTTSEngine(config=config, max_total_tokens=3_000, max_running_requests=64) as engine:
        sglang: Any = engine._engine

        def kv() -> Any:
            return engine.wait(engine._client.memory())

        def work() -> None:
            while asked < CHANGES or not found["results"]:
                try:
                    found["results"].append(said(engine.search(PROBLEMS, PARAMS)))
                except BadRequest:  # between two searches nothing keeps a pool large enough for one
                    continue

        asked = 0
        found["before"] = kv()
        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            asked += 1
            share = rng.uniform(0.05, 0.99) if asked % 20 else 0.02  # which never goes
            try:
                sglang.collective_rpc("fasttts_resize", generator_share=share)
            except AssertionError as refused:
                found["refused"].append(str(refused))
        worker.join()
        found["held"] = after_narrow_searches(engine, 4, hold=True)
        found["released"] = after_narrow_searches(engine, 20, hold=False)
        try:
            sglang.collective_rpc("fasttts_resize", generator_share=2)
        except AssertionError as refused:
            found["nonsense"] = str(refused)
        time.sleep(1)  # an idle scheduler checks its pools, and dies if something leaked
        found["after"] = kv()
    return found


def after_narrow_searches(engine: FastTTSEngine, times: int, *, hold: bool) -> list[Any]:
    """The workloads that were last decided for, before and after searches of two beams."""
    sglang: Any = engine._engine
    sglang.collective_rpc("fasttts_resize", generator_share=0.5, hold=hold)

    def decided_for() -> Any:
        kv: Any = engine.wait(engine._client.memory())
        return kv["budget"]["decided_for"]

    narrow = PARAMS[0].replace(n=2, branch=2)
    before = decided_for()
    for _ in range(times):
        engine.search(PROBLEMS, narrow)
        if (after := decided_for()) != before:
            break
    return [before, after]


def main() -> None:
    os.environ["SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_BUSY"] = "1"  # after every batch, too
    print("RESIZING " + json.dumps({"reference": undisturbed(), **disturbed()}))


if __name__ == "__main__":
    main()
