"""The examples that talk to a server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "says"), [("openai_client.py", "answer: "), ("frontend_program.py", "(score ")]
)
def test_an_example_runs(url: str, name: str, says: str) -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples" / name), url, "secret"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
