"""Searches in a KV memory in which their live trees do not fit, with and without the host's.

python -m tests.runtime.offloading off|32MiB [unordered] prints one JSON object per search, what was
on the host when a search was cancelled and when one failed, and the state of the host at the end.
"""

import asyncio
import json
import os
import sys
from typing import Any

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchFailed, SearchParams

from . import tight

CASES = ((128, 7, "off"), (64, 2, "full"))


def tell(**found: Any) -> None:
    print("OFFLOADING " + json.dumps(found), flush=True)


async def host(engine: FastTTSEngine) -> dict[str, Any]:
    memory = await engine._client.memory()
    assert memory is not None
    found: dict[str, Any] = memory["host"]
    return found


async def ended(engine: FastTTSEngine, *, cancel: bool) -> dict[str, Any]:
    """Cancel a search, or abort its rows, once some of its KV is on the host; tells how much."""
    from sglang.srt.managers.io_struct import AbortReq

    seed = 8 + cancel  # of its own: the scores of another are known
    params = SearchParams(n=128, seed=seed, temperature=1.0, stop=(), max_tokens=200)
    task = asyncio.ensure_future(engine.async_search(tight.prompt(seed), params))
    before: dict[str, Any] = {}
    while not all(part["held_bytes"] for part in before.values()) or not before:
        await asyncio.sleep(0.1)
        assert not task.done()
        before = await host(engine)
    if cancel:
        task.cancel()
    else:
        rows = AbortReq(rid="fasttts/")
        engine._engine.tokenizer_manager._dispatch_to_scheduler(rows)
    try:
        await task
    except (asyncio.CancelledError, SearchFailed) as exc:
        return {"end": type(exc).__name__, "host": before}
    raise AssertionError("the search survived")


def main(host_offload: str, order: str = "ordered") -> None:
    os.environ["SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_BUSY"] = "1"  # after every batch, too
    config = FastTTSConfig(
        replay=tight.REPLAY,
        verifier_tokens=tight.TOKENS,
        host_offload=host_offload,
        prefix_order=order == "ordered",
    )
    with FastTTSEngine(
        config=config, max_total_tokens=tight.TOKENS, max_running_requests=128
    ) as engine:
        for n, seed, speculation in CASES:
            tell(**tight.search(engine, n, seed, speculation))
        if host_offload != "off":
            tell(**engine.wait(ended(engine, cancel=True)))
            tell(**engine.wait(ended(engine, cancel=False)))
        engine.wait(asyncio.sleep(1.5))  # idle: the leak check runs
        engine.generate(input_ids=tight.prompt(1), sampling_params=tight.GREEDY)
        tell(end="all", host=engine.wait(host(engine)))


if __name__ == "__main__":
    main(*sys.argv[1:])
