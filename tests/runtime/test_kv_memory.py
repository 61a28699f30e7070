"""The KV memory of both models: planned at start, told while searches run, refused if too small."""

import asyncio
import subprocess
import sys
from typing import Any

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.models import tiny_task

PROBLEM = tiny_task.problems(13, 1, "heldout")[0]
PARAMS = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8, "branch": 4})


def memory(engine: FastTTSEngine) -> dict[str, Any]:
    told: dict[str, Any] = engine.wait(engine._client.memory())
    return told


def test_auto_plans_and_searches_run(engine: FastTTSEngine) -> None:
    engine.flush_cache()
    before = memory(engine)
    plan, pools = before["plan"], before["pools"]
    assert before["split"] == "auto"
    assert plan["workload"]["n"] == 64
    assert plan["machine"]["name"] == "cpu"
    # the generator's 30,000 tokens are fixed, so the verifier holds the same tree
    for name in ("generator", "verifier"):
        assert plan[name]["kv_tokens"] == 30_000
        assert pools[name] == {"used": 0, "cached": 0, "free": 30_000}
    assert plan["round_s"] > 0

    assert engine.search(PROBLEM, PARAMS).best is not None
    after = memory(engine)
    assert after["plan"] == plan
    for pool in after["pools"].values():
        assert pool["used"] == 0
        assert pool["cached"] > 0
        assert sum(pool.values()) == 30_000


def test_memory_is_told_while_a_search_runs(engine: FastTTSEngine) -> None:
    seen: list[dict[str, Any]] = []

    async def both() -> None:
        search = asyncio.ensure_future(engine.async_search(PROBLEM, PARAMS))
        while not search.done():
            told = await engine._client.memory()
            assert told is not None
            seen.append(told["pools"]["generator"])
        await search

    engine.wait(both())
    assert max(pool["used"] for pool in seen) > 0
    assert not engine._client._memory


def test_memory_for_not_even_one_path_stops_the_start() -> None:
    code = (
        "from fasttts_sglang import FastTTSEngine\n"
        "if __name__ == '__main__': FastTTSEngine(max_total_tokens=500)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=240
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "--fasttts-kv-split auto: in this split not even one path of 816 tokens fits" in said
    assert "2 MiB are missing" in said
