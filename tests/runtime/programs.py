"""Programs of SGLang's frontend language, and what they must do on any of our backends."""

from typing import Any

import pytest
import sglang as sgl

from fasttts_sglang import SearchResult, frontend
from fasttts_sglang.models import tiny_task

PROBLEMS = tiny_task.problems(11, 3, "heldout")
PARAMS = {**tiny_task.SEARCH, "n": 4, "branch": 2}


@sgl.function
def chat(s: Any, problem: str) -> None:
    s += sgl.user(problem)
    s += sgl.assistant(frontend.search("answer", **PARAMS))


@sgl.function
def text(s: Any, problem: str) -> None:
    s += "<bos>" + problem + "\n\n"  # what the model's chat template makes of it
    s += frontend.search("answer", **PARAMS)
    s += " done"


@sgl.function
def best_fork(s: Any, problem: str) -> None:
    s += "<bos>" + problem + "\n\n"
    forks = s.fork(2)
    for seed, fork in enumerate(forks):
        fork += frontend.search("answer", **PARAMS, seed=seed)
    best = frontend.select(forks, "answer")
    s.set_var("score", best.get_meta_info("answer")["score"])
    s.set_var("scores", [fork.get_meta_info("answer")["score"] for fork in forks])
    s += best["answer"]


@sgl.function
def mixed(s: Any, problem: str) -> None:
    s += "<bos>" + problem + "\n\n"
    s += sgl.gen("first", max_tokens=6, temperature=0)
    s += sgl.select("choice", choices=["\n", "7"])
    s += frontend.search("rest", **PARAMS)


@sgl.function
def judged(s: Any, problem: str) -> None:
    s += sgl.user(problem)
    s += sgl.assistant(frontend.search("answer", **PARAMS) + frontend.score("r"))


@sgl.function
def judged_text(s: Any, problem: str) -> None:
    s += "<bos>" + problem + "\n\n"
    forks = s.fork(2)
    for fork in forks:
        fork += sgl.gen("way", max_tokens=40, temperature=0)
        fork += frontend.score("r", of="way")
    best = frontend.select(forks, "r")
    s.set_var("r", best.get_meta_info("r")["score"])


def check(backend: Any, expected: list[SearchResult]) -> None:
    """Run all programs; `expected` are the plain searches of PROBLEMS."""
    texts = [result.best.text for result in expected if result.best]
    one = chat.run(PROBLEMS[0], backend=backend)
    assert one["answer"] == texts[0]
    meta = one.get_meta_info("answer")
    assert meta["answer"] == expected[0].answer
    assert meta["result"].usage.completion_tokens == expected[0].usage.completion_tokens
    assert len(meta["step_scores"]) == len(meta["result"].best.steps)

    several = text.run_batch([{"problem": p} for p in PROBLEMS], backend=backend, num_threads=3)
    assert [state["answer"] for state in several] == texts
    assert several[0].text().endswith(texts[0] + " done")

    streamed = text.run(PROBLEMS[0], backend=backend, stream=True)
    assert "".join(streamed.text_iter("answer")) == texts[0]
    streamed = text.run(PROBLEMS[0], backend=backend, stream=True)
    assert "".join(streamed.text_iter()).endswith(texts[0] + " done")

    forked = best_fork.run(PROBLEMS[0], backend=backend)
    assert len(forked["scores"]) == 2
    assert forked["score"] == max(forked["scores"])

    state = judged.run(PROBLEMS[0], backend=backend)
    found = state.get_meta_info("r")
    assert found["scores"] == pytest.approx(state.get_meta_info("answer")["step_scores"], abs=1e-3)
    assert found["score"] == found["scores"][-1] and state["r"] == ""
    assert 0 <= judged_text.run(PROBLEMS[0], backend=backend)["r"] <= 1

    state = mixed.run(PROBLEMS[0], backend=backend)
    assert state["choice"] in ("\n", "7")
    assert state.text().endswith(state["first"] + state["choice"] + state["rest"])
    pieces = mixed.run(PROBLEMS[0], backend=backend, stream=True)
    assert "".join(pieces.text_iter("first")) == state["first"]
    pieces.sync()
