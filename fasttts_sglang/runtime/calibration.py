"""What this machine attains: measured in a second, once per device, kept in the user's cache."""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..memory.machines import CPU, Machine

logger = logging.getLogger(__name__)

# What a decode step attains of a copy's bandwidth. With an H200's usual 4.1 TB/s for a copy this
# gives its entry in memory.machines, which was fitted to SGLang.
BANDWIDTH_OF_COPY = 0.93
_REPEATS = 5


def this_machine(device: str, index: int, cache: Path | None = None) -> Machine:
    """The machine to plan for.

    Args:
        device: torch's device type. A CPU is not measured.
        index: Of the device.
        cache: The folder of what was measured before; None is the user's.
    """
    if device == "cpu":
        return CPU
    name = str(torch.get_device_module(device).get_device_name(index))
    file = (cache or cache_folder()) / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.json"
    try:
        kept = json.loads(file.read_text("utf-8"))
        if not isinstance(kept, dict) or "verifier_waits" in kept:  # else an older version's
            return Machine.from_dict(kept)
    except (OSError, ValueError) as exc:  # a ConfigError is a ValueError
        if not isinstance(exc, FileNotFoundError):
            logger.warning("FastTTS: %s is measured again: %s", name, exc)
    machine = measure(torch.device(device, index), name)
    logger.info("FastTTS: measured %s, kept in %s", machine, file)
    _keep(machine, file)
    return machine


def cache_folder() -> Path:
    """Where calibrations are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fasttts_sglang" / "machines"


def measure(device: torch.device, name: str, *, size: int = 4096, copied: int = 1 << 27) -> Machine:
    """Time a product of two bf16 matrices of `size` and copies of `copied` bytes.

    The fixed times of a forward are not measured here: they are the defaults of `Machine`.
    """
    return Machine(
        name,
        bandwidth=2 * copied / _copy_seconds(device, copied) * BANDWIDTH_OF_COPY,
        rate=2 * size**3 / _matmul_seconds(device, size),
        host_bandwidth=copied / _fetch_seconds(device, copied),
    )


def _matmul_seconds(device: torch.device, size: int) -> float:
    # not random numbers, which would change what unseeded requests draw; not zeros, which take
    # less power than other numbers and run faster
    values = torch.linspace(-1, 1, size * size, device=device).view(size, size)
    left, right = values.to(torch.bfloat16), values.T.contiguous().to(torch.bfloat16)
    product = torch.empty_like(left)
    return _seconds(lambda: torch.matmul(left, right, out=product), device)


def _copy_seconds(device: torch.device, size: int) -> float:
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _seconds(lambda: target.copy_(source), device)


def _fetch_seconds(device: torch.device, size: int) -> float:
    """Of a copy from pinned host memory."""
    source = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty_like(source, device=device)
    return _seconds(lambda: target.copy_(source, non_blocking=True), device)


def _seconds(act: Callable[[], Any], device: torch.device) -> float:
    """The shortest of some runs, each of several calls, so that launches do not count."""

    def finish() -> None:
        if device.type != "cpu":
            torch.get_device_module(device).synchronize(device)

    best, calls = float("inf"), 10
    act()
    for _ in range(_REPEATS):
        finish()
        began = time.perf_counter()
        for _ in range(calls):
            act()
        finish()
        best = min(best, (time.perf_counter() - began) / calls)
    return best


def _keep(machine: Machine, file: Path) -> None:
    """Write the file in one step; a machine whose cache cannot be written is measured each time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(machine.to_dict()), "utf-8")
        part.replace(file)
    except OSError as exc:
        logger.warning("FastTTS: %s cannot be kept: %s", file, exc)
