"""Test programs in a process of their own, which print what they found."""

import json
import os
import subprocess
import sys
from typing import Any


def run_script(name: str, *args: Any, **env: str) -> tuple[dict[str, Any], str]:
    """What `python -m tests.runtime.NAME` prints behind its name, in capitals, and its log.

    Args:
        args: Of the program; a dict as JSON.
    """
    words = [json.dumps(arg) if isinstance(arg, dict) else str(arg) for arg in args]
    command = [sys.executable, "-m", f"tests.runtime.{name}", *words]
    environment = {**os.environ, **env}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    log, mark = done.stdout + done.stderr, name.upper() + " "
    marked = [line for line in done.stdout.splitlines() if line.startswith(mark)]
    assert marked, log[-3000:]
    print(marked[-1][:200])
    return json.loads(marked[-1].removeprefix(mark)), log
