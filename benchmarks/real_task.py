"""The tiny pair on its real task: accuracy beside speed, on stock SGLang and on ours."""

import statistics
import time
from typing import Any

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.extraction import extract

from .baselines.stock import RealSteps
from .measures import spread
from .setting import Setting
from .systems import Stock

WIDTH = 8


def compare(stock: Stock, count: int, setting: Setting) -> list[dict[str, Any]]:
    """Search `count` held-out problems on both, alternating; one record per problem and system.

    The seeds are the same, but stock SGLang ignores them, so the samples differ.
    """
    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": WIDTH, "branch": 4})
    problems = tiny_task.problems(77, count + 1, "heldout")
    records = []
    engine = FastTTSEngine(**setting.our_args)
    tokenizer = engine._engine.tokenizer_manager.tokenizer
    steps = RealSteps(
        stop_token_id=tokenizer.encode("\n\n")[0],
        eos_token_id=tokenizer.eos_token_id,
        max_step_tokens=params.max_step_tokens,
    )
    for number, problem in enumerate(problems):
        prompt = engine._client._encode(problem)
        began = time.perf_counter()
        ours = engine.search(problem, params)
        our_s = time.perf_counter() - began
        theirs = stock.pair.search(prompt, params, steps)
        best = theirs.candidates[0] if theirs.candidates else None
        text = tokenizer.decode(theirs.ids[best.path][len(prompt) :]) if best else ""
        answer = extract(text.removesuffix(tokenizer.eos_token), "auto")
        truth = str(tiny_task.true_answer(problem))
        if number:  # the first warms both systems up
            records += [
                _record("stock", answer == truth, theirs.seconds, theirs.completion_tokens),
                _record("fasttts", ours.answer == truth, our_s, ours.usage.completion_tokens),
            ]
    return records


def _record(system: str, right: bool, seconds: float, tokens: int) -> dict[str, Any]:
    return {"system": system, "right": right, "latency_s": seconds, "completion_tokens": tokens}


def table(records: list[dict[str, Any]]) -> str:
    """Accuracy and latency per system; empty without records."""
    if not records:
        return ""
    lines = [
        f"Real task, n={WIDTH}, best-scored answer:\n",
        "| system | right | latency s | tokens per s |",
        "|---|---|---|---|",
    ]
    for system in dict.fromkeys(record["system"] for record in records):
        part = [record for record in records if record["system"] == system]
        right = sum(record["right"] for record in part)
        rate = statistics.fmean(r["completion_tokens"] / r["latency_s"] for r in part)
        latency = spread([record["latency_s"] for record in part])
        lines.append(f"| {system} | {right} of {len(part)} | {latency} | {rate:.0f} |")
    return "\n".join(lines)
