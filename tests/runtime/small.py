"""A small engine without a verifier, in a process of its own: what it refuses and what it does.

Prints one JSON list of [case, outcome].
"""

import json

from fasttts_sglang import BadRequest, FastTTSEngine, SearchParams
from fasttts_sglang.engine import TINY
from fasttts_sglang.models import tiny_task

PROBLEM = tiny_task.problems(3, 1, "heldout")[0]
VOTE = {**tiny_task.SEARCH, "algorithm": "best_of_n", "selection": "majority", "n": 4}
CASES = {
    "beam": {**tiny_task.SEARCH, "n": 4},
    "best of n by score": {**VOTE, "selection": "best"},
    "too large for KV": {**VOTE, "max_tokens": 1500},
    "vote": {**VOTE, "max_tokens": 300},
    "vote in little memory": {**VOTE, "n": 32, "max_tokens": 300},
}


def main() -> None:
    outcomes = []
    with FastTTSEngine(str(TINY / "generator"), max_total_tokens=1000) as engine:
        for case, params in CASES.items():
            try:
                result = engine.search(PROBLEM, SearchParams.from_dict(params))
                outcomes.append([case, len(result.candidates), result.usage.verifier_tokens])
            except BadRequest as refused:
                outcomes.append([case, str(refused)])
    print("SMALL " + json.dumps(outcomes))


if __name__ == "__main__":
    main()
