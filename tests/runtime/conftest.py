"""One real engine for all runtime tests: booting SGLang is what costs."""

from collections.abc import Iterator

import pytest

from fasttts_sglang import FastTTSEngine
from fasttts_sglang.engine import TINY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker("engine")


@pytest.fixture(scope="session")
def engine() -> Iterator[FastTTSEngine]:
    with FastTTSEngine(max_total_tokens=30_000, max_running_requests=64) as engine:
        yield engine


@pytest.fixture(scope="session")
def tiny() -> dict[str, str]:
    return {"generator": str(TINY / "generator"), "verifier": str(TINY / "verifier")}
