"""A verifier of one's own: a Python function that checks the bundled task's arithmetic exactly.

    cd examples/custom_verifier
    python arithmetic.py

On a server: PYTHONPATH=examples/custom_verifier python -m fasttts_sglang.launch_server ...
--fasttts-verifier-function arithmetic:score
"""

from collections.abc import Sequence

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams
from fasttts_sglang.models import tiny_task


def score(problem: str, steps: Sequence[str]) -> float:
    """1 while every step is right, else 0."""
    checks = tiny_task.check_steps(problem, "".join(steps))
    return float(len(checks) == len(steps) and all(checks))


if __name__ == "__main__":
    config = FastTTSConfig(verifier_function="arithmetic:score")
    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": 16, "aggregation": "last"})
    with FastTTSEngine(config=config) as engine:
        for problem in tiny_task.problems(11, 8, "heldout"):
            result = engine.search(problem, params)
            print(f"{problem} = {result.answer} (it is {tiny_task.true_answer(problem)})")
