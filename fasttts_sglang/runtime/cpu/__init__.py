"""Running without a GPU: what SGLang lacks there, and a faster start."""

import functools
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from . import boot

_FALLBACK = Path(__file__).parent / "fallback"
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri", "/dev/dxg")


def prepare(model_path: str | None = None, verifier_path: str | None = None) -> bool:
    """Ready this process and its children for a machine without a GPU; return whether it is one.

    Call it before `sglang.srt` is imported: that imports SGLang's compiled kernels, which do not
    load here.

    Args:
        model_path, verifier_path: If the generator is known, only their model code is imported.

    Raises:
        ConfigError: It is a GGUF file, for which SGLang has no CPU kernels.
    """
    if not any(map(os.path.exists, _DRIVERS)):
        install_fallbacks()
        boot.skip_other_models(model_path, verifier_path)
        boot.start_importing()  # goes on while torch is imported below
    if _without_gpu() and str(model_path).endswith(".gguf"):
        raise ConfigError(
            f"--model: SGLang reads GGUF files on a GPU only, got {model_path}; "
            "examples/smollm2/convert.py writes a folder that runs here"
        )
    return _without_gpu()


@functools.cache
def _without_gpu() -> bool:
    import torch

    if torch.cuda.is_available() or torch.xpu.is_available():
        return False
    install_fallbacks()
    return True


def active() -> bool:
    """Whether the fallbacks are in place, in this process or by inheritance."""
    return os.environ.get("SGLANG_USE_CPU_ENGINE") == "1" and str(_FALLBACK) in sys.path


def install_fallbacks() -> None:
    """Make `import sgl_kernel` find our stand-in, in this process and those it spawns."""
    if active():
        return
    os.environ["SGLANG_USE_CPU_ENGINE"] = "1"
    sys.path.insert(0, str(_FALLBACK))
    # said by SGLang's modules for GPUs as they are imported, once per process
    warnings.filterwarnings("ignore", "Only (CUDA|NVIDIA)|Triton is not supported", UserWarning)


def server_args() -> dict[str, Any]:
    """Engine arguments that suit a CPU."""
    return {
        "device": "cpu",
        "attention_backend": "torch_native",
        "sampling_backend": "pytorch",
        "dtype": "float32",
        "max_total_tokens": 60_000,
        "sleep_on_idle": True,  # an idle scheduler otherwise keeps a whole core busy
    }
