"""KV memory moves between the models while searches run, and nobody can tell from the results."""

import json
import subprocess
import sys
from typing import Any

import pytest


@pytest.fixture(scope="module")
def outcome() -> Any:
    command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.resizing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    marked = [line for line in done.stdout.splitlines() if line.startswith("RESIZING ")]
    assert marked, done.stderr[-3000:]
    return json.loads(marked[0].removeprefix("RESIZING "))


def test_results_do_not_depend_on_moves(outcome: Any) -> None:
    assert outcome["results"]
    assert all(run == outcome["reference"] for run in outcome["results"])


def test_hundreds_of_moves_within_the_budget(outcome: Any) -> None:
    budget = outcome["after"]["budget"]
    assert budget["resizes"] >= 150
    assert budget["peak_bytes"] <= budget["budget_bytes"]
    assert budget["state"] == "steady"


def test_nothing_leaks(outcome: Any) -> None:
    """Beside SGLang's own checks, after every batch and when idle, which would have ended it."""
    kv = outcome["after"]
    assert [pool["used"] for pool in kv["pools"].values()] == [0, 0]
    mapped = sum(kv["budget"]["mapped_bytes"].values())
    for part in kv["host"].values():  # KV that had to give way to a move came back
        assert part["held_bytes"] == 0 and part["restored_tokens"] > 0
    before = outcome["before"]["budget"]
    assert before["budget_bytes"] == sum(before["mapped_bytes"].values())
    assert 0.9 * kv["budget"]["budget_bytes"] <= mapped <= kv["budget"]["budget_bytes"]


def test_a_wrong_share_is_refused_by_name(outcome: Any) -> None:
    assert outcome["nonsense"] == "generator_share: must be between 0 and 1, got 2"
