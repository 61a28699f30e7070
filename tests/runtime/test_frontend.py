"""SGLang's frontend language on the engine."""

from typing import Any

import pytest

from fasttts_sglang import BadRequest, FastTTSEngine, SearchParams, frontend

from . import programs

# sglang.lang reports an error by a warning; as an error itself it would never be reported
pytestmark = pytest.mark.filterwarnings("default:Error in stream_executor")


def test_programs_search(engine: FastTTSEngine) -> None:
    params = SearchParams.from_dict(programs.PARAMS)
    expected = engine.search(programs.PROBLEMS, params)
    programs.check(engine, expected)
    again = engine.search(programs.PROBLEMS[0], params)  # plain calls go on working
    assert again.best == expected[0].best or again.best.text == expected[0].best.text  # type: ignore[union-attr]
    assert engine.flush_cache().success
    assert engine.generate("1+1", {"max_new_tokens": 2})["text"]


def test_a_wrong_field_is_refused_where_it_is_written() -> None:
    with pytest.raises(BadRequest, match="n: 3 is not divisible by branch=4"):
        frontend.search("answer", n=3)


class State:
    """What select needs to know of a fork."""

    def __init__(self, score: float | None) -> None:
        self.score = score

    def get_meta_info(self, _name: str) -> dict[str, Any]:
        return {"score": self.score}


def test_the_best_fork_is_selected() -> None:
    states: Any = [State(None), State(0.2), State(0.9), State(0.9)]
    assert frontend.select(states, "answer") is states[2]
    with pytest.raises(ValueError):
        frontend.select([], "answer")
