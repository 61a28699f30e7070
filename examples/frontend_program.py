"""Searches in a program of SGLang's frontend language, offline or against a server.

python examples/frontend_program.py [URL [API_KEY]]
"""

import sys
from typing import Any

import sglang as sgl

from fasttts_sglang import FastTTSEngine
from fasttts_sglang import frontend as fasttts
from fasttts_sglang.models import tiny_task


@sgl.function
def solve(s: Any, problem: str) -> None:
    """Two searches with different seeds; the better one is the answer."""
    s += sgl.user(problem)
    forks = s.fork(2)
    for seed, fork in enumerate(forks):
        fork += sgl.assistant_begin()
        fork += fasttts.search("answer", **tiny_task.SEARCH, n=8, branch=4, seed=seed)
    best = fasttts.select(forks, "answer")
    s += sgl.assistant(best["answer"])
    s.set_var("meta", best.get_meta_info("answer"))


def run(backend: Any) -> None:
    problems = tiny_task.problems(seed=1, count=4, split="heldout")
    states = solve.run_batch([{"problem": problem} for problem in problems], backend=backend)
    for problem, state in zip(problems, states, strict=True):
        meta = state["meta"]
        print(f"{problem} = {meta['answer']} (score {meta['score']:.3f})")


def main(*server: str) -> None:
    if server:
        run(fasttts.Endpoint(*server))
    else:
        with FastTTSEngine() as engine:
            run(engine)


if __name__ == "__main__":
    main(*sys.argv[1:])
