"""Runs the slices of a plan, each in a process of its own: SGLang's engines share one badly.

A slice boots its engines, says so, and waits until it is let go; so several can boot at once and
still measure one after the other.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from queue import Empty, Queue

READY, STARTED = "SLICE READY", "SLICE STARTED"
_LOOK_S = 0.5
_LAST_LINES_S = 5.0
_POLITE_S = 0.05  # long enough for a waiting process to take the lock


def run_all(
    arguments: Sequence[str],
    numbers: Sequence[int],
    together: int,
    deadline: float,
    module: str = "benchmarks",
) -> list[int]:
    """Run slices of `python -m MODULE ARGUMENTS`, some of them together.

    Args:
        numbers: Which slices of its plan.
        together: Slices whose engines stand side by side on the device.
        deadline: `time.monotonic()` after which no slice starts.

    Returns:
        The numbers of those that failed; each has said why.
    """
    failed: list[int] = []
    for begin in range(0, len(numbers), together):
        if time.monotonic() > deadline:
            break
        minutes = ["--minutes", f"{(deadline - time.monotonic()) / 60:.2f}"]
        batch = numbers[begin : begin + together]
        parts = [_Part(module, [*arguments, *minutes, "--slice", str(n)]) for n in batch]
        for part in parts:
            part.wait_for(READY)
        for part in parts:
            part.go()
            part.wait_for(STARTED)  # the first has measured the machine for the others
        ends = [part.end() for part in parts]
        failed += [number for number, end in zip(batch, ends, strict=True) if end != 0]
    return failed


class _Part:
    """A slice's process, whose output goes to ours line by line."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._said: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() in (READY, STARTED):
                self._said.put(line.strip())
            else:
                sys.stdout.write(line)
                sys.stdout.flush()

    def wait_for(self, word: str) -> None:
        """Until it says `word`, or ends."""
        said = ""
        while said != word and self._process.poll() is None:
            with suppress(Empty):
                said = self._said.get(timeout=_LOOK_S)

    def end(self) -> int:
        """Its exit status, once its output is passed on."""
        status = self._process.wait()
        # not until the pipe ends: schedulers that it leaves behind hold it a little longer
        self._reader.join(_LAST_LINES_S)
        return status

    def go(self) -> None:
        """Let it measure."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and said why
            self._process.stdin.write("go\n")
            self._process.stdin.flush()


def report_ready() -> None:
    """In a slice: the engines are booted; wait until it may measure."""
    print(READY, flush=True)
    sys.stdin.readline()


def report_started() -> None:
    """In a slice: the machine's rates are known."""
    print(STARTED, flush=True)


class Turns:
    """In a slice: searches only while no other slice does."""

    def __init__(self, log: Path) -> None:
        self._path = log.with_name(log.name + ".lock")

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._path.open("w") as file:
            flock(file, LOCK_EX)
            yield
        time.sleep(_POLITE_S)
