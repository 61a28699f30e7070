"""KV that does not fit goes to the host and back: no result depends on it, nothing is left."""

import json
import subprocess
import sys
from typing import Any

import pytest

from .offloading import CASES

LIMIT, LIMIT_BYTES = "32MiB", 32 << 20
AGAIN = ("recomputed", "restored")
Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def runs() -> dict[str, Told]:
    found: dict[str, Told] = {}
    for offload in ("off", LIMIT):
        command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.offloading", offload]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        lines = [line for line in done.stdout.splitlines() if line.startswith("OFFLOADING ")]
        found[offload] = [json.loads(line.removeprefix("OFFLOADING ")) for line in lines]
        # it came to its end, so nothing leaked
        assert found[offload] and found[offload][-1].get("end") == "all", done.stderr[-3000:]
        assert "is off" not in done.stderr, done.stderr[-3000:]
    return found


def searches(runs: dict[str, Told]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each with and without."""
    return list(zip(runs[LIMIT][: len(CASES)], runs["off"], strict=False))


def test_no_result_depends_on_it(runs: dict[str, Told]) -> None:
    for with_host, without in searches(runs):
        for name in ("found", "ordinary", "completion_tokens", "rounds"):
            assert with_host[name] == without[name]


def test_what_was_evicted_is_copied_and_not_computed(runs: dict[str, Told]) -> None:
    for with_host, without in searches(runs):
        names = [f"{who}{what}_tokens" for who in ("", "verifier_") for what in AGAIN]
        print({name: (without[name], with_host[name]) for name in names})
        for who in ("", "verifier_"):
            again = f"{who}recomputed_tokens"
            assert with_host[again] <= without[again] / 5 + 50
            assert with_host[f"{who}restored_tokens"] > 0
            assert without[f"{who}restored_tokens"] == 0


def test_the_host_is_used_within_the_limit_and_given_back(runs: dict[str, Told]) -> None:
    cancelled, failed, end = runs[LIMIT][len(CASES) :]
    assert [cancelled["end"], failed["end"]] == ["CancelledError", "SearchFailed"]
    for told in (cancelled, failed):
        parts = told["host"].values()
        assert all(0 < part["held_bytes"] <= part["allocated_bytes"] for part in parts)
        assert sum(part["allocated_bytes"] for part in parts) <= LIMIT_BYTES
    for part in end["host"].values():
        assert (part["held_bytes"], part["allocated_bytes"]) == (0, 0)
        assert part["saved_tokens"] > 0 and part["restored_tokens"] > 0
    assert runs["off"][-1]["host"] == {}
