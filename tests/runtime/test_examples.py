"""The offline examples, on the session's engine instead of one of their own."""

import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

import fasttts_sglang
from fasttts_sglang import FastTTSEngine

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "says"), [("solve_many.py", "(right, "), ("frontend_program.py", "(score ")]
)
def test_an_example_runs(
    engine: FastTTSEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    says: str,
) -> None:
    monkeypatch.setattr(fasttts_sglang, "FastTTSEngine", lambda: nullcontext(engine))
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert says in capsys.readouterr().out
