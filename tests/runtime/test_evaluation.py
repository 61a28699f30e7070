"""An evaluation on the real engine: graded right, and nothing is computed twice."""

from pathlib import Path

from fasttts_sglang import FastTTSEngine, SearchParams
from fasttts_sglang.evaluation import grid, tasks
from fasttts_sglang.models import tiny_task


def test_a_grid_is_graded_and_goes_on(engine: FastTTSEngine, tmp_path: Path) -> None:
    task = tasks.load("tiny", 3)
    settings = [
        SearchParams.from_dict({**tiny_task.SEARCH, "algorithm": name, "n": 4})
        for name in ("beam", "self_consistency")
    ]
    path = tmp_path / "out.jsonl"
    first = grid.run(engine, task, settings, grader="string", done=[], together=2)
    for record, _ in zip(first, range(4), strict=False):
        grid.append(path, record)
    done = grid.read(path)
    rest = list(grid.run(engine, task, settings, grader="string", done=done, together=2))
    assert len(done) == 4
    assert len(rest) == 2
    assert len({record.key for record in [*done, *rest]}) == 6
    for record in [*done, *rest]:
        assert record.right == (record.answer == record.truth)
        assert record.completion_tokens > 0
