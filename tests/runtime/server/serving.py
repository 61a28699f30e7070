"""How the tests start a server and ask it."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from fasttts_sglang.models import tiny_task

PROBLEM = tiny_task.problems(5, 1, "heldout")[0]
SEARCH = {**tiny_task.SEARCH, "prompt": PROBLEM, "n": 4, "branch": 2}
KEY = {"Authorization": "Bearer secret"}
PYTHON = [sys.executable, "-W", "ignore"]
START = [*PYTHON, "-m", "fasttts_sglang.launch_server"]
SGLANG_SERVE = [*PYTHON, "-c", "from sglang.cli.main import main; main()", "serve"]
SGLANG_LAUNCH = [*PYTHON, "-m", "sglang.launch_server"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            if requests.get(f"{url}/health_generate", headers=KEY, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(1)
    pytest.fail(f"the server did not come up: {log.read_text()[-3000:]}")


def searches_in_flight(url: str) -> int:
    count: int = requests.get(f"{url}/fasttts/status", headers=KEY, timeout=10).json()["searches"]
    return count
