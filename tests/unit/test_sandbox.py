"""What a program can and cannot do in the sandbox."""

import os
import socket
import time
from pathlib import Path

import pytest

from fasttts_sglang.errors import ConfigError
from fasttts_sglang.evaluation import grading, sandbox


@pytest.fixture
def inside() -> None:
    """Skip where there is no working sandbox."""
    try:
        sandbox.check()
    except ConfigError as exc:
        pytest.skip(str(exc))


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    ("program", "passed", "output"),
    [
        ("assert 1 + 1 == 2", True, ""),
        ("import json, decimal, typing\nprint('it ran')", True, "it ran"),
        ("print('ä', end='')", True, "ä"),
        ("open('/tmp/x', 'w').write('y')\nassert open('x').read() == 'y'", True, ""),
        ("if __name__ == '__main__': x = 1\nassert x", True, ""),
        ("assert 1 + 1 == 3", False, "AssertionError"),
        ("def f(:", False, "SyntaxError"),
        ("input()", False, "EOFError"),
        ("import sys; sys.exit(0)", False, ""),
        ("import os; os._exit(0)", False, ""),
        ("import os; os.kill(os.getpid(), 9)", False, ""),
        ("def f(): f()\nf()", False, "RecursionError"),
        ("x = [0] * 10**9", False, "MemoryError"),
        ("import os\nos.fork()", False, "BlockingIOError"),
        ("import threading as t\nt.Thread(target=print).start()", False, "can't start new thread"),
        ("import subprocess\nsubprocess.run(['/usr/bin/env'])", False, "BlockingIOError"),
        ("open('/usr/x', 'w')", False, "OSError"),
        ("open('/x', 'w')", False, "OSError"),
        ("open('/tmp/x', 'w').write('y' * 10**7)", False, "File too large"),
        ("open('/etc/passwd')", False, "FileNotFoundError"),
        ("open('/proc/1/environ')", False, "FileNotFoundError"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 80), 5)", False, "unreachable"),
        ("import os\nos.setuid(0)", False, "PermissionError"),
        ("import os\nos.kill(1, 9)", False, "PermissionError"),
        ("import numpy", False, "ModuleNotFoundError"),
        ("while True: print('x' * 1000)", False, ""),
        ("\udc80", False, "SyntaxError"),
    ],
)
def test_a_program(program: str, passed: bool, output: str) -> None:
    outcome = sandbox.run(program)
    assert outcome.passed is passed, outcome
    assert output in outcome.output
    assert len(outcome.output) <= 500


@pytest.mark.usefixtures("inside")
def test_the_machine_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    program = f"""
import os
assert "SECRET_TOKEN" not in os.environ, os.environ
assert "HOME" not in os.environ, os.environ
assert not os.path.exists({str(secret)!r})
assert not os.path.exists({str(Path(__file__))!r})
assert os.listdir("/tmp") == []
if os.path.exists({str(Path.home())!r}):
    assert len(os.listdir({str(Path.home())!r})) == 1, "more than the way to the interpreter"
"""
    assert sandbox.run(program) == sandbox.Outcome(True, "")
    assert sandbox.run("open('/tmp/left', 'w').close()").passed
    assert not os.path.exists("/tmp/left")


@pytest.mark.usefixtures("inside")
def test_a_server_of_this_machine_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        outcome = sandbox.run(f"import socket\nsocket.create_connection({address}, 5)")
    assert not outcome.passed
    assert "Connection refused" in outcome.output


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(100)"])
def test_a_program_that_does_not_end_is_stopped(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "WALL_S", 3)
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace("CPU=10", "CPU=1"))
    began = time.monotonic()
    assert not sandbox.run(program).passed
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("inside")
def test_code_is_graded_by_its_tests() -> None:
    tests = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
    right = "def add(a, b):\n    return a + b"
    assert grading.passes(right, tests)
    assert not grading.passes("def add(a, b):\n    return a - b", tests)
    assert not grading.passes("def add(a, b):\n    raise SystemExit(0)", tests)
    typed = "def add(a: List[int], b: int) -> int:\n    return a + b"
    assert grading.passes(typed, f"from typing import List\n{grading.SOLUTION}{tests}")


@pytest.mark.parametrize("why", ["missing", "broken"])
def test_without_a_sandbox_nothing_runs(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without bubblewrap, and one that forbids namespaces."""
    if why == "broken":
        (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2; exit 1\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.check.cache_clear()
    expected = {"missing": "no program `bwrap`", "broken": "bwrap: No permissions"}[why]
    with pytest.raises(ConfigError, match=f"needs bubblewrap .*{expected}"):
        grading.passes("raise SystemExit", "")
    sandbox.check.cache_clear()
