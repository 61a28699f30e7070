"""KV that does not fit goes to the host and back: no result depends on it, nothing is left."""

import json
from typing import Any

import pytest

from .offloading import CASES
from .side_by_side import side_by_side

LIMIT, LIMIT_BYTES = "32MiB", 32 << 20
UNORDERED = "without the prefix order"
RUNS = {"off": ("off",), LIMIT: (LIMIT,), UNORDERED: (LIMIT, "unordered")}
Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def runs() -> dict[str, Told]:
    found: dict[str, Told] = {}
    for name, done in side_by_side("offloading", RUNS).items():
        lines = [line for line in done.stdout.splitlines() if line.startswith("OFFLOADING ")]
        found[name] = [json.loads(line.removeprefix("OFFLOADING ")) for line in lines]
        # it came to its end, so nothing leaked
        assert found[name] and found[name][-1].get("end") == "all", done.stderr[-3000:]
        assert "is off" not in done.stderr, done.stderr[-3000:]
    return found


@pytest.mark.parametrize("run", [LIMIT, UNORDERED])
def test_no_result_depends_on_it(runs: dict[str, Told], run: str) -> None:
    for with_host, without in zip(runs[run][: len(CASES)], runs["off"], strict=False):
        for name in ("found", "ordinary", "completion_tokens", "rounds"):
            assert with_host[name] == without[name]


@pytest.mark.parametrize("who", ["", "verifier_"])
def test_what_was_evicted_is_copied_and_not_computed(runs: dict[str, Told], who: str) -> None:
    again, restored = f"{who}recomputed_tokens", f"{who}restored_tokens"
    figures = {
        name: [(told[again], told[restored]) for told in runs[name][: len(CASES)]] for name in RUNS
    }
    print(who, figures)
    for without, with_host, _ in zip(*figures.values(), strict=True):
        assert with_host[0] <= without[0] / 5 + 50
        assert without[1] == 0
    lost = sum(told[0] for told in figures["off"])
    assert sum(told[1] for told in figures[LIMIT]) > 0 or not lost  # the order may leave nothing
    assert sum(told[1] for told in figures[UNORDERED]) > 0


@pytest.mark.parametrize("run", [LIMIT, UNORDERED])
def test_the_host_is_used_within_the_limit_and_given_back(runs: dict[str, Told], run: str) -> None:
    cancelled, failed, end = runs[run][len(CASES) :]
    assert [cancelled["end"], failed["end"]] == ["CancelledError", "SearchFailed"]
    for told in (cancelled, failed):
        parts = told["host"].values()
        assert all(0 < part["held_bytes"] <= part["allocated_bytes"] for part in parts)
        assert sum(part["allocated_bytes"] for part in parts) <= LIMIT_BYTES
    for part in end["host"].values():
        assert (part["held_bytes"], part["allocated_bytes"]) == (0, 0)
        assert part["saved_tokens"] > 0 and part["restored_tokens"] > 0
    assert runs["off"][-1]["host"] == {}
