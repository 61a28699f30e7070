"""Running without a GPU."""

import functools
import os
import sys
from pathlib import Path
from typing import Any


@functools.cache
def prepare() -> bool:
    """Ready this process and its children for a machine without a CUDA device; True if so."""
    import torch

    if torch.cuda.is_available():
        return False
    os.environ["SGLANG_USE_CPU_ENGINE"] = "1"
    sys.path.insert(0, str(Path(__file__).parent / "fallback"))
    return True


def server_args() -> dict[str, Any]:
    """Engine arguments that suit a CPU."""
    return {
        "device": "cpu",
        "attention_backend": "torch_native",
        "sampling_backend": "pytorch",
        "dtype": "float32",
        "max_total_tokens": 60_000,
    }
