"""The benchmarks run as documented and fill in every measure."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measures import Measures
from benchmarks.points import Run

from .environment import without_engine


def run(module: str, *arguments: str) -> str:
    """What the benchmark prints."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    env = without_engine()
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def searches(text: str) -> list[dict[str, Any]]:
    """The JSON lines of a comparison, each measure checked to be a number or explained."""
    rows = [json.loads(line) for line in text.splitlines() if line.startswith('{"system"')]
    for row in rows:
        for field in fields(Measures):
            assert row[field.name] is not None or row["reasons"][field.name], field.name
        assert 0 < row["bound_s"] <= row["limit_s"]
        assert 0 < row["slot_use"] <= 1
        assert row["verifier_tokens"] > 0
    return rows


def test_quick_measures_both_systems_on_the_same_search() -> None:
    """It stops by itself if one returns other candidates than the algorithm alone."""
    said = run("benchmarks", "--quick", "--seeds", "2", "--widths", "4", "16", "--problems", "2")
    rows = searches(said)
    assert [(row["system"], row["n"], row["seed"]) for row in rows] == [
        (system, n, seed) for n in (4, 16) for seed in (1, 2) for system in ("stock", "fasttts")
    ]
    for stock, ours in zip(rows[::2], rows[1::2], strict=True):
        for same in ("completion_tokens", "rounds"):
            assert stock[same] == ours[same]
        assert stock["recomputed_tokens"] == 0  # memory is ample
    assert "| 16 | fasttts |" in said


TIGHT = ["--gpu", "--pair", "toy+toy", "--widths", "8", "--kv-gib", "0.05", "--seeds", "1"]
TIGHT += ["--spec", '{"mean_tokens": 8, "min_steps": 2, "max_steps": 3}', "--together", "2"]
TIGHT += ["--stock-share", "0.4", "--log"]


def test_a_comparison_goes_on_where_its_log_ends(tmp_path: Path) -> None:
    """Systems in processes of their own, a static split."""
    log = tmp_path / "log.jsonl"
    arguments = [*TIGHT, str(log), "--modes", "full"]
    rows = searches(run("benchmarks", *arguments))
    assert {row["system"] for row in rows} == {"stock, 40 % verifier", "fasttts"}
    before = log.read_text()
    said = run("benchmarks", *arguments)
    assert searches(said) == []  # all is measured: no engine boots
    assert log.read_text() == before
    assert "| 8 | fasttts |" in said


@pytest.mark.slow
def test_an_ablation_has_every_switch(tmp_path: Path) -> None:
    """And every mode of speculation is scored by the verifier."""
    said = run("benchmarks", *TIGHT, str(tmp_path / "log.jsonl"), "--ablate")
    rows = searches(said)
    ours = {"+ prefix order", "+ planned split", "+ resizing"}
    ours |= {"everything off", "+ speculation paper", "+ speculation full"}
    assert {row["system"] for row in rows} == {"stock, 40 % verifier", *ours}
    assert {(row["n"], row["seed"]) for row in rows} == {(8, 1)}
    assert "| 8 | + speculation full |" in said


def test_predictions_are_held_against_many_splits_in_one_boot(tmp_path: Path) -> None:
    report = tmp_path / "planner.md"
    arguments = ["--pairs", "toy+toy", "--kv-gib", "0.005", "--widths", "8", "16", "--seeds", "1"]
    arguments += ["--steps", "3", "--step-tokens", "16", "--shares", "0.1", "0.2", "0.3", "0.7"]
    said = run("benchmarks.planner", *arguments, "--out", str(report))
    runs = [Run.from_json(line) for line in said.splitlines() if line.startswith('{"pair"')]
    splits = {run.split for run in runs}
    assert len(splits) == 5  # and the planned one, half and half: memory is ample
    assert len(runs) == 10
    tokens = {sum(split) for split in splits}
    assert max(tokens) - min(tokens) < 256  # all of one budget, whole units each
    for run_ in runs:
        assert run_.planned == (abs(run_.generator_tokens - run_.verifier_tokens) < 300)
        assert run_.rounds == 3
        assert run_.verifier_s > 0  # the score cache knows none of it
    table = report.read_text()
    assert table.count("\n| toy+toy |") == 10
    assert "of 10 points within 20 %" in table
    assert table.count("planned ") == 2


@pytest.mark.slow
def test_harm_and_hook_time_print_their_tables(tmp_path: Path) -> None:
    harm, hooks = tmp_path / "harm.md", tmp_path / "hooks.md"
    few = ["--requests", "8", "--tokens", "16", "--repeats", "1", "--n", "8", "--out", str(harm)]
    run("benchmarks.harm", *few)
    assert "| full |" in harm.read_text()
    run("benchmarks.hook_time", "--n", "8", "--seeds", "1", "--out", str(hooks))
    assert "| full |" in hooks.read_text()
