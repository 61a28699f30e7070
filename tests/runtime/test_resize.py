"""KV memory moves between the models while searches run, and nobody can tell from the results."""

import json
import subprocess
import sys
from typing import Any

import pytest


def said_by(module: str) -> Any:
    """The JSON object that `tests.runtime.MODULE` prints."""
    command = [sys.executable, "-W", "ignore", "-m", f"tests.runtime.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    word = f"{module.upper()} "
    marked = [line for line in done.stdout.splitlines() if line.startswith(word)]
    assert marked, done.stderr[-3000:]
    return json.loads(marked[0].removeprefix(word))


@pytest.fixture(scope="module")
def outcome() -> Any:
    return said_by("resizing")


def test_results_do_not_depend_on_moves(outcome: Any) -> None:
    """Answers and texts to the letter; scores but for rounding, as other steps share a batch."""
    assert outcome["results"]
    for run in outcome["results"]:
        for (answer, candidates), (expected, reference) in zip(
            run, outcome["reference"], strict=True
        ):
            assert answer == expected
            assert [text for text, _ in candidates] == [text for text, _ in reference]
            scores = [score for _, score in candidates]
            assert scores == pytest.approx([score for _, score in reference], abs=1e-6)


def test_hundreds_of_moves_within_the_budget(outcome: Any) -> None:
    budget = outcome["after"]["budget"]
    assert budget["resizes"] >= 150
    assert budget["peak_bytes"] <= budget["budget_bytes"]
    assert budget["state"] == "steady"


def test_the_planner_looks_at_what_runs(outcome: Any) -> None:
    """Beside the moves by hand: four searches of 16 beams, that end one after the other."""
    assert outcome["after"]["budget"]["rule"] == "plan"
    load, _ = outcome["held"]
    assert load["width"] in (16, 32, 48, 64)
    assert load["branch"] == 4
    assert 5 < load["prompt_tokens"] < load["tokens"] <= 600
    assert load["step_tokens"] is None or 1 < load["step_tokens"] < 100


def test_a_split_that_is_held_is_not_looked_at(outcome: Any) -> None:
    before, after = outcome["held"]
    assert before == after
    before, after = outcome["released"]
    assert after["width"] <= 8 < before["width"]


def test_nothing_leaks(outcome: Any) -> None:
    """Beside SGLang's own checks, after every batch and when idle, which would have ended it."""
    kv = outcome["after"]
    assert [pool["used"] for pool in kv["pools"].values()] == [0, 0]
    mapped = sum(kv["budget"]["mapped_bytes"].values())
    for part in kv["host"].values():  # whatever had to give way to a move
        assert part["held_bytes"] == 0
    before = outcome["before"]["budget"]
    assert before["budget_bytes"] == sum(before["mapped_bytes"].values())
    assert 0.9 * kv["budget"]["budget_bytes"] <= mapped <= kv["budget"]["budget_bytes"]


def test_a_wrong_share_is_refused_by_name(outcome: Any) -> None:
    assert outcome["nonsense"] == "generator_share: must be between 0 and 1, got 2"


def test_the_planner_mends_a_bad_split_by_itself() -> None:
    """A tenth for the generator, which needs more for 64 beams; once it has it, nothing moves."""
    found = said_by("replanning")
    assert all(found["same"])
    before, after = found["before"], found["after"]
    assert before["resizes"] == before["rolled_back"] == after["rolled_back"] == 0
    assert 1 <= after["resizes"] <= 2
    assert after["mapped_bytes"]["generator"] > 2 * before["mapped_bytes"]["generator"]
    assert after["peak_bytes"] <= after["budget_bytes"]
    load = after["decided_for"]
    assert (load["width"], load["branch"], load["prompt_tokens"]) == (64, 4, 40)
    assert load["step_tokens"] == pytest.approx(20, rel=0.2)
