"""Test programs that boot an engine each, at the same time: booting is most of what they do."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

Done = subprocess.CompletedProcess[str]


def side_by_side(module: str, runs: Mapping[str, Sequence[str]]) -> dict[str, Done]:
    """Run `python -m tests.runtime.MODULE ARGUMENTS` for each of `runs`, by name.

    With one thread each: threads of several engines that wait in turn slow each other down.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", f"tests.runtime.{module}"]

    def run(arguments: Sequence[str]) -> Done:
        whole = [*command, *arguments]
        for _ in range(3):
            done = subprocess.run(whole, capture_output=True, text=True, timeout=600, env=env)
            if "EADDRINUSE" not in done.stderr:
                break  # else SGLang found a free port, and another engine bound it before
        return done

    with ThreadPoolExecutor() as pool:
        return dict(zip(runs, pool.map(run, runs.values()), strict=True))
