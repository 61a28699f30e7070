"""The same problems with speculation off, as in the paper and full.

python -m tests.runtime.modes ENGINE_ARGS_JSON NUM_PROBLEMS prints whether all results are equal.
"""

import json
import sys
from dataclasses import replace
from typing import Any

from fasttts_sglang import FastTTSEngine, SearchParams, SearchResult
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.params import SPECULATION

WIDE = SearchParams.from_dict({**tiny_task.SEARCH, "n": 16, "branch": 4})


def tree(result: SearchResult) -> list[tuple[Any, ...]]:
    """Everything a search decided, without timing and cache statistics."""
    return [(c.path, [s.token_ids for s in c.steps], c.finish, c.answer) for c in result.candidates]


def results(engine: FastTTSEngine, problems: list[str]) -> dict[str, list[SearchResult]]:
    """Every problem alone and from cold caches, per mode."""
    found: dict[str, list[SearchResult]] = {mode: [] for mode in SPECULATION}
    for problem in problems:
        for mode in SPECULATION:
            engine.flush_cache()
            found[mode].append(engine.search(problem, replace(WIDE, speculation=mode)))
    return found


def summary(found: dict[str, list[SearchResult]]) -> dict[str, Any]:
    """Number of problems with equal results, and what was decoded ahead per mode."""
    plain = [tree(result) for result in found["off"]]
    return {
        "problems": len(plain),
        "equal": {
            mode: sum(tree(r) == p for r, p in zip(some, plain, strict=True))
            for mode, some in found.items()
        },
        "kept": {m: sum(r.usage.speculated_kept for r in some) for m, some in found.items()},
        "wasted": {m: sum(r.usage.speculated_wasted for r in some) for m, some in found.items()},
        "seconds": {
            m: round(sum(r.timing["total_s"] for r in some), 2) for m, some in found.items()
        },
    }


def results_together(engine: FastTTSEngine, problems: list[str]) -> dict[str, list[SearchResult]]:
    """All problems at once, per mode."""
    return {mode: engine.search(problems, replace(WIDE, speculation=mode)) for mode in SPECULATION}


if __name__ == "__main__":
    with FastTTSEngine(**json.loads(sys.argv[1])) as the_engine:
        found = results_together(the_engine, tiny_task.problems(91, int(sys.argv[2]), "heldout"))
        print("MODES " + json.dumps(summary(found)), flush=True)
