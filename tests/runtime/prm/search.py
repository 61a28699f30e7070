"""Searches with a verifier of another vocabulary; prints JSON.

python -m tests.runtime.prm.search CHECKPOINT FAMILY
"""

import asyncio
import json
import sys
from typing import Any

from fasttts_sglang import BadRequest, FastTTSConfig, FastTTSEngine, SearchFailed, SearchParams
from fasttts_sglang.engine import TINY
from fasttts_sglang.models import tiny_task

from .published import VERDICT_TOKENS

PROBLEM = tiny_task.problems(3, 1, "heldout")[0]
TOKENS = 830  # that the verifier can hold
LONG = "1+" * 355 + "1"  # 745 tokens for the verifier; 84 more fit, but not with a marker per step
PARAMS = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8, "max_tokens": 300})


def main(checkpoint: str, family: str) -> None:
    tokens = TOKENS if family == "qwen-math-prm" else 8000
    config = FastTTSConfig(
        verifier_path=checkpoint,
        prm_family=family,
        verifier_tokens=tokens,
        verdict_tokens=VERDICT_TOKENS,
        algorithms=("greedy=fasttts_greedy:greedy",),  # of examples/custom_algorithm
    )
    with FastTTSEngine(str(TINY / "generator"), config=config) as engine:

        def search(params: SearchParams) -> list[Any]:
            found = engine.search(PROBLEM, params).candidates
            return [[[s.text for s in c.steps], [s.score for s in c.steps]] for c in found]

        report: dict[str, Any] = {"problem": PROBLEM, "candidates": search(PARAMS)}
        try:
            engine.wait(engine.async_search([1, 5, 6], PARAMS))
        except BadRequest as exc:
            report["ids"] = str(exc)
        try:
            engine.search(LONG, PARAMS.replace(max_tokens=84, step_tokens=8))
        except SearchFailed as exc:
            report["long"] = str(exc)
        for seconds in (0.1, 0.3, 0.6):  # end while the verifier is at work
            engine.search(PROBLEM, PARAMS.replace(time_budget_s=seconds, seed=int(seconds * 10)))
        engine.wait(asyncio.sleep(1.0))  # idle: the leak check runs
        greedy = engine.search(PROBLEM, PARAMS.replace(algorithm="greedy", n=4))
        report["greedy"] = [greedy.usage.rounds, greedy.usage.children, len(greedy.candidates)]
        engine.flush_cache()
        report["after"] = search(PARAMS)
    print("SEARCHED " + json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
