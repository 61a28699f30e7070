"""Where the verifier's work runs: a CUDA stream beside the generator's, or in line."""

from contextlib import nullcontext
from typing import Any

import torch


class Lane:
    """Enter it to launch work of the verifier.

    With tensor parallelism all ranks must take scores in the same step, so none may ask the clock
    of its own device whether they are there: then, as on a CPU, work is waited for.
    """

    def __init__(self, worker: Any) -> None:
        self.synchronous = worker.device != "cuda" or worker.ps.tp_size > 1
        self._stream = None if self.synchronous else torch.cuda.Stream()
        self._context: Any = nullcontext()

    def __enter__(self) -> None:
        if self._stream is not None:
            self._context = torch.cuda.stream(self._stream)
        self._context.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._context.__exit__(*exc)

    def put(self, host: torch.Tensor) -> torch.Tensor:
        """A copy of `host` on the device, without waiting for it."""
        if self._stream is None:
            return host
        return host.pin_memory().to("cuda", non_blocking=True)

    def fetch(self, device: torch.Tensor) -> "Values":
        """Begin to copy `device` to the host."""
        if self._stream is None:
            return Values(device, None)
        host = torch.empty(device.shape, dtype=device.dtype, pin_memory=True)
        host.copy_(device, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return Values(host, event)


class Values:
    """Numbers that are on their way from the device. Raises what the device raised."""

    def __init__(self, host: torch.Tensor, event: Any) -> None:
        self._host, self._event = host, event

    def ready(self) -> bool:
        return self._event is None or bool(self._event.query())

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()

    def tolist(self) -> list[float]:
        self.wait()
        return list(self._host.tolist())
