"""The examples that talk to a server."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("name", "says"), [("openai_client.py", "answer: "), ("frontend_program.py", "(score ")]
)
def test_an_example_runs(url: str, name: str, says: str) -> None:
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / name), url, "secret"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
