"""The benchmark runs as documented and fills in every measure."""

import json
import subprocess
import sys
from dataclasses import fields

from benchmarks.measures import Measures


def test_quick_measures_both_systems_on_the_same_search() -> None:
    """It stops by itself if the baseline and we return different candidates."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--quick"]
    command += ["--seeds", "2", "--widths", "4", "16", "--problems", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"system"')]
    assert [(row["system"], row["n"], row["seed"]) for row in rows] == [
        (system, n, seed) for n in (4, 16) for seed in (1, 2) for system in ("stock", "fasttts")
    ]
    for row in rows:
        for field in fields(Measures):
            assert row[field.name] is not None or row["reasons"][field.name], field.name
        assert row["limit_s"] > 0
        assert 0 < row["slot_use"] <= 1
    for stock, ours in zip(rows[::2], rows[1::2], strict=True):
        for same in ("completion_tokens", "rounds"):
            assert stock[same] == ours[same]
    assert "| 16 | fasttts |" in done.stdout
