"""What a measurement was made on: versions, device, command."""

import platform
import shlex
import sys
from importlib.metadata import version
from typing import Any

PACKAGES = ("sglang", "torch", "transformers", "triton", "numpy")


def describe() -> dict[str, Any]:
    """Versions, device and command line, as they go into every JSON line and report."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    module = sys.modules["__main__"].__spec__
    command = [
        "python",
        *(["-m", module.name.removesuffix(".__main__")] if module else [sys.argv[0]]),
        *sys.argv[1:],
    ]
    return {
        "command": shlex.join(command),
        "device": gpu or f"CPU, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
