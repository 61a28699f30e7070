"""Asks the worker process, and starts another when it has died. Safe in any thread."""

import atexit
import json
import select
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import SearchFailed
from .worker import CPU_S, READY

MISSING = "math needs the extra `eval` (math-verify)"
MAX_CHARS = 400  # of an answer; longer ones are equal only as strings
VOTE_CPU_S = 20.0  # of all comparisons of one vote; what is left after it is compared as strings
_WALL_S = 60.0  # for one comparison, where the machine is so loaded that CPU seconds do not pass


def available() -> bool:
    """Whether math-verify is installed."""
    return find_spec("math_verify") is not None


class Equality:
    """Compares answers as mathematics within a budget of CPU seconds; one per vote.

    What cannot be decided within the bounds is unequal.

    Example:
        >>> equal = Equality()
        >>> equal("1/2", "0.5"), equal("1/2", "0.6")  # doctest: +SKIP
        (True, False)
    """

    def __init__(self, budget_s: float = VOTE_CPU_S) -> None:
        self._left_s = budget_s

    def __call__(self, truth: str, answer: str) -> bool:
        if self._left_s <= 0 or max(len(truth), len(answer)) > MAX_CHARS:
            return False
        equal, used_s = _WORKER.compare(truth, answer)
        self._left_s -= used_s
        return equal


class _Worker:
    """The process, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def compare(self, one: str, other: str) -> tuple[bool, float]:
        """Whether the answers are equal, and CPU seconds used.

        Raises:
            SearchFailed: The process does not start; it says why on standard error.
        """
        with self._lock:
            process = self._process or self._start()
            try:
                reply = self._ask(process, [one, other])
            except (OSError, ValueError):  # it died, or is stuck
                self._stop()
                return False, CPU_S
            return bool(reply[0]), float(reply[1])

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._stop()

    def _ask(self, process: subprocess.Popen[bytes], pair: list[str]) -> Any:
        assert process.stdin is not None
        process.stdin.write(json.dumps(pair).encode() + b"\n")
        process.stdin.flush()
        return json.loads(_line(process))

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server, whose end ends this process
        )
        if _line(self._process).strip() != READY.encode():
            self._stop()
            raise SearchFailed("the process that compares answers as mathematics did not start")
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except OSError:  # its unread input
                    continue


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of its output; empty if it has ended or takes too long."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _WALL_S)
    return process.stdout.readline() if ready else b""


_WORKER = _Worker()
atexit.register(_WORKER.close)
