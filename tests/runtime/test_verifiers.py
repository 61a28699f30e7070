"""Whole searches with a verifier that reads text, and with one that is a Python function."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fasttts_sglang.models import tiny_task

from .prm import checkpoints
from .prm.letters import Letters
from .prm.published import PUBLISHED

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("family", ["qwen-math-prm", "thinkprm"])
def test_a_search_scores_texts_as_published(family: str, tmp_path: Path) -> None:
    """Tiny generator, verifier in another vocabulary: every score of every candidate."""
    prm = checkpoints.make(family, tmp_path)
    command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.prm.search"]
    done = subprocess.run(
        [*command, str(tmp_path), family],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES / "custom_algorithm")},
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith("SEARCHED ")]
    assert marked, done.stderr[-3000:]
    found = json.loads(marked[0].removeprefix("SEARCHED "))
    assert found["candidates"]
    for steps, scores in found["candidates"][:4]:
        texts = [step.strip() for step in steps]
        expected = PUBLISHED[family](prm, found["problem"], texts)
        assert scores == pytest.approx(expected, abs=1e-3)
    assert "reads text; send prompt or messages" in found["ids"]
    if family == "qwen-math-prm":
        assert "tokens long for the verifier, which reads" in found["long"]
    rounds, children, candidates = found["greedy"]
    assert children == 4 * rounds and candidates == 1
    assert found["after"] == found["candidates"], "a search that ended left something behind"


def test_the_example_of_a_function_finds_the_answers() -> None:
    command = [sys.executable, "-W", "ignore", "arithmetic.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=EXAMPLES / "custom_verifier"
    )
    lines = [line for line in done.stdout.splitlines() if " (it is " in line]
    assert len(lines) == 8, done.stderr[-3000:]
    right = sum(f"= {line.split('(it is ')[1].rstrip(')')} (" in line for line in lines)
    assert right >= 6, lines  # an exact verifier prunes every slip that some sibling avoids


def test_a_function_that_misbehaves_ends_the_search_with_its_name() -> None:
    from fasttts_sglang.errors import SearchFailed
    from fasttts_sglang.runtime.function_verifier import FunctionVerifier
    from fasttts_sglang.runtime.reading import Reading, ScoreJob
    from fasttts_sglang.verifier.score_cache import ScoreCache

    reading = Reading.of([ord("?")], tiny_task.problems(1, 1)[0])
    reading.add([ord("1")])
    for name, message in (
        ("tests.runtime.prm.functions:raises", "raised ValueError"),
        ("tests.runtime.prm.functions:not_finite", "returned nan at step 0"),
        (
            "tests.runtime.prm.functions:too_large",
            r"returned 2.0 .* must be in \[0, 1\]",
        ),
    ):
        with pytest.raises(SearchFailed, match=message):
            FunctionVerifier(name, Letters, ScoreCache(10)).score([ScoreJob(reading, 0)])
