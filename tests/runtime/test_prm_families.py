"""Every family of reward models against transformers and the published read-out."""

import json
import subprocess
import sys
from typing import Any

import pytest

from .environment import without_engine
from .prm import checkpoints
from .prm.published import PUBLISHED
from .prm.score_all import FAULTS, FAULTY, HOW, PROBLEM, STEPS

Found = dict[str, dict[str, list[list[float]]]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, checkpoints.Prm]:
    folder = tmp_path_factory.mktemp("prm")
    return {family: checkpoints.make(family, folder / family) for family in checkpoints.LAYOUTS}


@pytest.fixture(scope="module")
def printed(models: dict[str, checkpoints.Prm]) -> dict[str, Any]:
    folder = next(iter(models.values())).folder.parent
    command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.prm.score_all", str(folder)]
    env = without_engine()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    found = {mark: json.loads(rest[0]) for mark, *rest in lines if mark in ("SCORES", "FAULTS")}
    assert len(found) == 2, done.stderr[-3000:]
    return found


@pytest.fixture(scope="module")
def found(printed: dict[str, Any]) -> Found:
    scores: Found = printed["SCORES"]
    return scores


@pytest.mark.parametrize("family", checkpoints.LAYOUTS)
def test_scores_are_those_of_the_published_code(
    family: str, models: dict[str, checkpoints.Prm], found: Found
) -> None:
    seen: list[float] = []
    for steps, scores in zip(STEPS, found[family]["together"], strict=True):
        expected = PUBLISHED[family](models[family], PROBLEM, steps)
        seen += expected
        assert scores[-len(expected) :] == pytest.approx(expected, abs=1e-3)
    assert max(seen) - min(seen) > 0.02, "scores that are all alike show nothing"


@pytest.mark.parametrize("how", HOW[1:])
@pytest.mark.parametrize("family", checkpoints.LAYOUTS)
def test_how_steps_are_batched_does_not_matter(family: str, how: str, found: Found) -> None:
    """One by one, from the prefix cache step by step, and split over several forwards."""
    together = found[family]["together"]
    for scores, others in zip(together, found[family][how], strict=True):
        assert scores[-1] == pytest.approx(others[-1], abs=1e-3)
        if family != "outcome":  # an unfinished answer is read elsewhere than a finished one
            assert scores == pytest.approx(others, abs=1e-3)


@pytest.mark.parametrize("where", FAULTS)
def test_a_failure_meets_the_sequence_at_fault_alone(
    where: str, printed: dict[str, Any], found: Found
) -> None:
    # what failed before it was in a batch was tried for ever, and blamed on what was before it
    seen = printed["FAULTS"][where]
    assert not seen["busy"]
    assert seen["leak"] is None
    assert seen["errors"] == [None, "the verifier failed: no memory left", None]
    for index in (0, 2):
        assert seen["scores"][index] == pytest.approx(found[FAULTY]["together"][index], abs=1e-3)
