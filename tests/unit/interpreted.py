"""Triton kernels on a CPU."""

import os
import subprocess
import sys


def interpreted(program: str) -> subprocess.CompletedProcess[str]:
    """Run Python source with Triton's interpreter, which a process chooses before it imports it."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
