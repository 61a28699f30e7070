"""Measuring a machine: what is kept is used again, and what is broken is measured again."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fasttts_sglang.memory.machines import CPU, MACHINES, Machine
from fasttts_sglang.runtime import calibration

MEASURED = Machine("NVIDIA H200", 3.9e12, 4.1e14)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the devices that were measured; there is one GPU, which is pretended."""
    names: list[str] = []

    def measure(device: torch.device, name: str) -> Machine:
        names.append(f"{name} {device.index}")
        return MEASURED

    gpu = SimpleNamespace(get_device_name=lambda index: "NVIDIA H200")
    monkeypatch.setattr(torch, "get_device_module", lambda device: gpu)
    monkeypatch.setattr(calibration, "measure", measure)
    return names


def test_a_machine_is_measured_once(measured: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        assert calibration.this_machine("cuda", 1, tmp_path) == MEASURED
    assert measured == ["NVIDIA H200 1"]
    (kept,) = tmp_path.iterdir()
    assert kept.name == "nvidia-h200.json"
    assert Machine.named(str(kept)) == MEASURED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"name": "x", "bandwidth": -1, "rate": 1, "verifier_waits": 1}',
        '{"name": "of an older version", "bandwidth": 1, "rate": 1, "host_bandwidth": 1}',
    ],
)
def test_a_broken_file_is_replaced(content: str, measured: list[str], tmp_path: Path) -> None:
    (tmp_path / "nvidia-h200.json").write_text(content)
    assert calibration.this_machine("cuda", 0, tmp_path) == MEASURED
    assert json.loads((tmp_path / "nvidia-h200.json").read_text()) == MEASURED.to_dict()
    assert len(measured) == 1


def test_a_cache_that_cannot_be_written_is_no_obstacle(measured: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert calibration.this_machine("cuda", 0, tmp_path / "file" / "folder") == MEASURED


def test_a_cpu_is_not_measured(measured: list[str], tmp_path: Path) -> None:
    assert calibration.this_machine("cpu", 0, tmp_path) is CPU
    assert not measured


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert calibration.cache_folder() == tmp_path / "fasttts_sglang" / "machines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert calibration.cache_folder().is_relative_to(Path.home() / ".cache")


def test_measuring_draws_no_random_numbers_and_gives_plausible_figures() -> None:
    before: Any = torch.get_rng_state()
    machine = calibration.measure(torch.device("cpu"), "here", size=64, copied=1 << 20)
    assert torch.equal(before, torch.get_rng_state())
    assert 1e7 < machine.bandwidth < 1e13
    assert 1e6 < machine.rate < 1e15


def test_what_an_h200_does_gives_its_entry() -> None:
    h200 = MACHINES["h200"]
    assert h200.bandwidth == pytest.approx(4.1e12 * calibration.BANDWIDTH_OF_COPY, rel=0.02)
