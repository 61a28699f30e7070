"""Runs the slices of a plan, each in a process of its own: SGLang's engines share one badly.

A slice boots its engines, says so, and waits until it is let go; so several can boot at once and
still measure one after the other.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from queue import Queue

READY, STARTED = "SLICE READY", "SLICE STARTED"
_POLITE_S = 0.05  # long enough for a waiting process to take the lock


def run_all(
    arguments: Sequence[str], numbers: Sequence[int], together: int, deadline: float
) -> list[int]:
    """Run slices of `python -m benchmarks ARGUMENTS`, some of them together.

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
        parts = [_Part([*arguments, *minutes, "--slice", str(number)]) for number in batch]
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

    def __init__(self, arguments: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "benchmarks", *arguments]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._said: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() in (READY, STARTED):
                self._said.put(line.strip())
            else:
                sys.stdout.write(line)
                sys.stdout.flush()
        self._said.put(None)

    def wait_for(self, word: str) -> None:
        """Until it says `word`, or ends."""
        while (said := self._said.get()) not in (word, None):
            pass
        if said is None:
            self._said.put(None)  # for whoever waits next

    def end(self) -> int:
        """Its exit status, once all its output is passed on."""
        while self._said.get() is not None:
            pass
        return self._process.wait()

    def go(self) -> None:
        """Let it measure."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and said why


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
