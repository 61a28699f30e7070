"""What a GPU attains: published figures for planning away from it, or measured ones."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from ..errors import ConfigError

# What is attained of the published figures; with the fixed times below it fits decode steps of 16
# to 256 rows of Qwen2.5-1.5B on an H200 (SGLang with the Triton attention backend).
BANDWIDTH_ATTAINED = 0.8
RATE_ATTAINED = 0.7


@dataclass(frozen=True, slots=True)
class Machine:
    """One GPU, or a CPU, with the host that drives it.

    Args:
        name: For reports.
        bandwidth: Bytes per second that a forward reads weights and KV at.
        rate: FLOP per second of a large matrix product.
        step_s: Fixed seconds of a decode step: scheduling, kernel launches, sampling.
        row_s: Further seconds per row: sampling over the vocabulary, bookkeeping on the host.
        prefill_s: Fixed seconds of a prefill forward, which runs without a CUDA graph.
        host_bandwidth: Bytes per second between pinned host memory and the GPU, one way.
        verifier_waits: By what part of the verifier's time a round is longer. The rest runs beside
            decode steps, on a stream of its own.

    Raises:
        ConfigError: A figure is no positive number, or `verifier_waits` above 1.
    """

    name: str
    bandwidth: float
    rate: float
    step_s: float = 1.1e-3
    row_s: float = 8e-6
    prefill_s: float = 8e-3
    host_bandwidth: float = 2e10
    verifier_waits: float = 0.5

    def __post_init__(self) -> None:
        for entry in fields(self)[1:]:
            value = getattr(self, entry.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise ConfigError(
                    f"machine {self.name}: {entry.name} must be a positive number, got {value!r}"
                )
        if self.verifier_waits > 1:
            raise ConfigError(
                f"machine {self.name}: verifier_waits must be at most 1, got {self.verifier_waits}"
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON object that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Raise ConfigError unless `values` is what `to_dict` writes."""
        known = {entry.name for entry in fields(cls)}
        if (
            not isinstance(values, dict)
            or not {"name", "bandwidth", "rate"} <= set(values) <= known
        ):
            raise ConfigError(f"a machine is a JSON object of {', '.join(sorted(known))}")
        return cls(**values)

    @classmethod
    def named(cls, name: str) -> "Machine":
        """One of MACHINES, or a JSON file as the calibration leaves.

        Raises:
            ConfigError: There is none of that name.
        """
        if name.lower() in MACHINES:
            return MACHINES[name.lower()]
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"--machine: must be a JSON file or one of {', '.join(MACHINES)}, got {name!r}"
            )
        try:
            return cls.from_dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as exc:
            raise ConfigError(f"--machine: {path}: {exc}") from exc


def _published(name: str, gb_per_s: float, tflops: float, pcie: int = 4) -> Machine:
    """A GPU by its data sheet: memory bandwidth, dense bf16 rate with fp32 accumulation, PCIe."""
    rate, host = tflops * 1e12 * RATE_ATTAINED, 1e9 * 2.0 ** (pcie + 1)  # 16 lanes
    bandwidths = gb_per_s * 1e9 * BANDWIDTH_ATTAINED, host * BANDWIDTH_ATTAINED
    return Machine(name, bandwidths[0], rate, host_bandwidth=bandwidths[1])


_GPUS = (
    _published("rtx-3070-ti", 608, 43.5),
    _published("rtx-4070-ti", 504, 80.2),
    _published("rtx-4090", 1008, 165.2),
    _published("a100-80gb", 2039, 312),
    _published("h100", 3350, 989, pcie=5),
    _published("h200", 4800, 989, pcie=5),
)

# Two cores without AVX-512, fitted to decode steps of the tiny pair's generator; not measured at
# start, which should stay quick on a CPU, where the split hardly matters. Nothing runs beside.
CPU = Machine(
    "cpu",
    8e9,
    7e10,
    step_s=4e-3,
    row_s=2.2e-4,
    prefill_s=10e-3,
    host_bandwidth=2e8,
    verifier_waits=1.0,
)

MACHINES = {machine.name: machine for machine in (*_GPUS, CPU)}
