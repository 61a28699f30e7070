"""Training data: gold traces written by worker processes, batched by length."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.pool import Pool

import numpy as np
import tokens
import torch

from fasttts_sglang.models import tiny_task


@dataclass(frozen=True, slots=True)
class Example:
    """A problem with its gold trace, as token ids; the first `prompt_len` are the prompt."""

    problem: str
    ids: bytes
    prompt_len: int

    @property
    def prompt(self) -> list[int]:
        return list(self.ids[: self.prompt_len])


def example(problem: str) -> Example:
    prompt = tokens.prompt(problem)
    trace = tokens.encode(tiny_task.solution(problem)) + bytes([tokens.EOS])
    return Example(problem, prompt + trace, len(prompt))


def examples(seed: int, size: int, split: tiny_task.Split) -> list[Example]:
    return [example(problem) for problem in tiny_task.problems(seed, size, split)]


def _chunk(index: int, *, seed: int, size: int) -> list[Example]:
    return examples(seed * 1_000_003 + index, size, "train")


@contextmanager
def workers(number: int) -> Iterator[Pool]:
    """Start the worker processes; do so before CUDA is initialised."""
    with multiprocessing.get_context("fork").Pool(number) as pool:
        yield pool


def stream(pool: Pool, seed: int, size: int) -> Iterator[list[Example]]:
    """Yield endless chunks of `size` training examples; the order depends on the seed alone."""
    ahead = 24  # chunks in flight: enough to keep the device busy, bounded in memory
    pending = []
    work = partial(_chunk, seed=seed, size=size)
    for index in count():
        pending.append(pool.apply_async(work, (index,)))
        if len(pending) > ahead:
            yield pending.pop(0).get()


def batches(rows: list[bytes], max_tokens: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Group row indices of similar length so that padded batches hold about `max_tokens`."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows[i]) > max_tokens:
            groups.append([])
        groups[-1].append(i)
    rng.shuffle(groups)
    return [np.array(group) for group in groups]


def pad_right(rows: list[bytes], fill: int = tokens.PAD) -> torch.Tensor:
    """Return `rows` as int64 [len(rows), longest], padded on the right."""
    width = max(map(len, rows))
    flat = b"".join(row.ljust(width, bytes([fill])) for row in rows)
    return torch.frombuffer(bytearray(flat), dtype=torch.uint8).view(len(rows), width).long()
