"""An evaluation on the real engine: graded right, and nothing is computed twice."""

from pathlib import Path

import pytest

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.errors import BadRequest
from fasttts_sglang.evaluation import grid, tasks
from fasttts_sglang.mathematics import equality
from fasttts_sglang.models import tiny_task


def test_a_grid_is_graded_and_goes_on(engine: FastTTSEngine, tmp_path: Path) -> None:
    task = tasks.load("tiny", 3)
    settings = [
        SearchParams.from_dict({**tiny_task.SEARCH, "algorithm": name, "n": 4})
        for name in ("beam", "self_consistency")
    ]
    path = tmp_path / "out.jsonl"
    first = grid.run(engine, task, settings, models="tiny", done=[], together=2)
    for record, _ in zip(first, range(4), strict=False):
        grid.append(path, record)
    done = grid.read(path)
    rest = list(grid.run(engine, task, settings, models="tiny", done=done, together=2))
    assert len(done) == 4
    assert len(rest) == 2
    assert len({record.key for record in [*done, *rest]}) == 6
    for record in [*done, *rest]:
        assert record.right == (record.answer == record.truth)
        assert record.completion_tokens > 0


def test_a_vote_can_count_what_is_equal_as_mathematics(engine: FastTTSEngine) -> None:
    pytest.importorskip("math_verify", reason="the extra `eval` is not installed")
    params = SearchParams.from_dict(
        {**tiny_task.SEARCH, "algorithm": "self_consistency", "n": 8, "answer": "last_line"}
    )
    problem = "(47+386)*6-95"
    by_string = engine.search(problem, params)
    by_math = engine.search(problem, params.replace(grouping="math"))
    assert [c.text for c in by_math.candidates] == [c.text for c in by_string.candidates]
    assert sum(by_math.votes.values()) == sum(by_string.votes.values())
    assert set(by_math.votes) <= set(by_string.votes)
    groups = list(by_math.votes)
    equal = equality.Equality()
    assert not any(equal(one, other) for one in groups for other in groups if one != other)


def test_without_math_verify_such_a_vote_is_refused(
    engine: FastTTSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "available", lambda: False)
    with pytest.raises(BadRequest, match="grouping: math needs the extra `eval`"):
        engine.search("1+1", SearchParams(grouping="math"))
