"""Stands in for SGLang's compiled kernels on a machine where they do not load.

SGLang imports names from here at module level and calls them only on a GPU.
"""

from collections.abc import Callable
from typing import Any

__version__ = "0.4.5"


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"sgl_kernel.{name} has no CPU fallback in fasttts_sglang")

    missing.__name__ = name
    return missing
