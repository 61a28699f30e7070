"""Search several problems at once and compare the answers with the truth.

python examples/solve_many.py
"""

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.models import tiny_task


def main() -> None:
    problems = tiny_task.problems(seed=1, count=8, split="heldout")
    params = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8})
    with FastTTSEngine() as engine:
        results = engine.search(problems, params)
    for problem, result in zip(problems, results, strict=True):
        verdict = "right" if result.answer == str(tiny_task.true_answer(problem)) else "wrong"
        print(f"{problem} = {result.answer} ({verdict}, {result.usage.rounds} rounds)")


if __name__ == "__main__":
    main()
