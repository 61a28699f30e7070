"""Checks of results on a GPU, with what they print, as one report.

    python -m benchmarks.gpu_checks --together --out benchmarks/reports/tiny+tiny_checks_h200.md

`fasttts solve` on a bundled problem; ordinary requests with and without the plugin, by default and
in SGLang's deterministic mode; the same searches with speculation off, paper and full,
token-identical in that mode. Without a GPU the same checks run on the CPU.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environment import describe

ENGINE = {
    "attention_backend": "triton",
    "disable_prefill_cuda_graph": True,
    "cuda_graph_max_bs_decode": 16,
    "max_total_tokens": 30_000,
}
_PYTEST = ["-m", "pytest", "-s", "-q", "-W", "ignore", "-o", "addopts=", "-p", "no:cacheprovider"]
_RUNTIME = "tests/runtime"
_LINES = 40  # of output in the report
_TIMEOUT_S = 540


@dataclass(frozen=True, slots=True)
class Check:
    """Something that a Python command line shows."""

    title: str
    arguments: tuple[str, ...]

    @classmethod
    def test(cls, title: str, file: str, name: str) -> "Check":
        """One test, with what it prints."""
        return cls(title, (*_PYTEST, f"{_RUNTIME}/{file}::{name}"))


def checks(*, gpu: bool) -> list[Check]:
    """All checks, for a GPU or a CPU."""
    identity, speculation = "test_ordinary_requests.py", "test_speculation.py"
    solve = ("-m", "fasttts_sglang.cli", "solve", "--demo")
    if not gpu:
        return [
            Check("fasttts solve", solve),
            Check.test(
                "Ordinary requests with and without the plugin",
                identity,
                "test_same_tokens_with_and_without_the_plugin",
            ),
            Check.test(
                "Speculation off, paper and full",
                speculation,
                "test_all_modes_give_the_same_result",
            ),
        ]
    return [
        Check("fasttts solve", (*solve, "--engine", json.dumps(ENGINE))),
        Check.test(
            "Ordinary requests with and without the plugin",
            identity,
            "test_same_tokens_on_a_gpu_by_default",
        ),
        Check.test(
            "The same, deterministic mode",
            identity,
            "test_same_tokens_on_a_gpu_in_deterministic_mode",
        ),
        Check.test(
            "Speculation off, paper and full, deterministic mode",
            speculation,
            "test_all_modes_give_the_same_result_on_a_gpu",
        ),
    ]


def run(check: Check) -> dict[str, Any]:
    """The check's command, exit status, seconds and last lines of output."""
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", *check.arguments]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        try:
            status = subprocess.run(
                command, stdout=said, stderr=errors, timeout=_TIMEOUT_S
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
            errors.write(f"stopped after {_TIMEOUT_S} s\n")
        for file in (said, errors):
            file.seek(0)
        text = said.read() if status == 0 else said.read() + errors.read()
    lines = [re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", line) for line in text.splitlines()]
    return {
        "title": check.title,
        "command": shlex.join(["python", *check.arguments]),
        "passed": status == 0,
        "seconds": round(time.perf_counter() - began, 1),
        "output": lines[-_LINES:],
    }


def table(results: list[dict[str, Any]]) -> str:
    """What passed."""
    lines = ["| check | outcome | s, boots included |", "|---|---|---|"]
    for result in results:
        outcome = "passed" if result["passed"] else "FAILED"
        lines.append(f"| {result['title']} | {outcome} | {result['seconds']} |")
    return "\n".join(lines)


def main() -> int:
    """Run the checks, print their outputs and a table, write the report; 1 if one failed."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--together", action="store_true", help="all at once, on a large machine")
    parser.add_argument("--only", nargs="+", type=int, help="numbers of checks, from 1")
    args = parser.parse_args()
    todo = checks(gpu=torch.cuda.is_available())
    if args.only:
        if not set(args.only) <= set(range(1, len(todo) + 1)):
            parser.error(f"--only: checks are 1 to {len(todo)}, got {args.only}")
        todo = [todo[number - 1] for number in args.only]
    results = []
    with ThreadPoolExecutor(len(todo) if args.together else 1) as pool:
        for result in pool.map(run, todo):
            results.append(result)
            print(f"\n{result['command']}\n", *result["output"], sep="\n", flush=True)
    env = describe()
    text = table(results)
    print(json.dumps({"environment": env, "checks": results}))
    print(text)
    if args.out:
        versions = ", ".join(f"{k} {v}" for k, v in env.items() if k not in ("command", "device"))
        parts = [
            "\n".join([f"## {r['title']}", "", "```", f"$ {r['command']}", *r["output"], "```"])
            for r in results
        ]
        page = [f"# Checks: {env['device']}", f"    {env['command']}", versions, text, *parts]
        args.out.write_text("\n\n".join(page) + "\n")
    return int(not all(result["passed"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
